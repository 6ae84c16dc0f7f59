#!/usr/bin/env python3
"""The figures of docs/performance.md, from one run: `make bench`.

Starts real Keystone, Glance and Nova, the gateway, nginx and a bare actix-web server (the baseline), all on loopback;
asks them in alternation; prints Markdown and writes every raw figure to .cache/bench/figures.json. The
competitor has one core to itself, the load generator and everything else the other.
"""

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import calls
import cloud
import cold
import hits
import load_client
import long_list
import memory_usage
import nginx
import polling
import process_stats

# In this order: what one adds to Glance must not be in the lists of another.
SECTIONS = {
    "hits": hits,
    "cold": cold,
    "memory-usage": memory_usage,
    "polling": polling,
    "calls": calls,
    "long-list": long_list,
}
OTHERS = ("baseline", "nginx", "nova")
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", cloud.ROOT / "target")) / "release"
# program → its package on Debian and Ubuntu
PROGRAMS = {"taskset": "util-linux"}


def names(known):
    def parse(text):
        chosen = text.split(",")
        if wrong := set(chosen) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(wrong)} is none of {', '.join(known)}")
        return chosen

    return parse


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rounds", type=int, default=5, help="of each comparison (default 5)")
    add("--seconds", type=int, default=4, help="for each competitor and round of hits, in turns of one (default 4)")
    add("--only", type=names(SECTIONS), default=list(SECTIONS), metavar="A,B",
        help="of " + ", ".join(SECTIONS))  # fmt: skip
    add("--cases", type=names(hits.CASES), default=list(hits.CASES), metavar="A,B",
        help="of the hits, of " + ", ".join(hits.CASES))  # fmt: skip
    add("--competitors", type=names(OTHERS), default=list(OTHERS), metavar="A,B",
        help="of the hits, beside the gateway, of " + ", ".join(OTHERS))  # fmt: skip
    add("--generator", choices=load_client.GENERATORS, default="lean",
        help="of the load of hits: `lean` is tools/bench/load_generator.rs; long answers wait for wrk")  # fmt: skip
    add("--gateway", type=Path, default=TARGET / "nova-image-proxy")
    add("--baseline", type=Path, default=TARGET / "examples" / "baseline")
    add("--load-generator", type=Path, default=TARGET / "examples" / "load_generator")
    return parser.parse_args()


def check_programs(options):
    wanted = PROGRAMS | ({"wrk": "wrk"} if options.generator == "wrk" else {})
    missing = [package for program, package in wanted.items() if not shutil.which(program)]
    if {"hits", "nginx"} <= {*options.only, *options.competitors} and nginx.program() is None:
        missing.append("nginx")
    if missing:
        sys.exit(f"bench: not installed: {', '.join(missing)} (apt-get install {' '.join(missing)})")
    needed = [options.gateway]
    if "hits" in options.only:
        needed += [options.load_generator] if options.generator == "lean" else []
        needed += [options.baseline] if "baseline" in options.competitors else []
    for binary in needed:
        if not binary.exists():
            sys.exit(f"bench: there is no {binary}; `make bench` builds it")


def two_cores():
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("bench: two cores are needed, one for the server and one for the load")
    return cores[:2]


def interrupted(*_):
    """Every way out passes the clean-up, which nothing interrupts."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise SystemExit("bench: interrupted")


def note(text):
    print(text, file=sys.stderr, flush=True)


def run(options):
    began = time.strftime("%Y-%m-%d %H:%M")
    conditions = f"{process_stats.machine()}; {began}, load before {os.getloadavg()[0]:.1f}"
    figures = {"conditions": conditions, "rounds": options.rounds, "seconds": options.seconds}
    with contextlib.ExitStack() as stack:
        note("starting Keystone, Glance and Nova")
        services = stack.enter_context(cloud.Cloud(options.cores))
        # This script and what it starts without a word on cores: beside the load generator.
        os.sched_setaffinity(0, {options.cores[1]})
        try:
            for name in (name for name in SECTIONS if name in options.only):
                note(f"– {name}")
                figures[name] = SECTIONS[name].run(options, services)
        finally:
            for rest in ("request", "answer"):
                (options.scratch / rest).unlink(missing_ok=True)
            (options.scratch / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    return figures


def main():
    options = arguments()
    check_programs(options)
    options.cores, options.note = two_cores(), note
    options.scratch = cloud.ROOT / ".cache" / "bench"
    options.scratch.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    with open(options.scratch / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("bench: another run is under way in this checkout")
        figures = run(options)
    print(f"{figures['conditions']}; {options.rounds} rounds\n")
    for name in (name for name in SECTIONS if name in figures):
        print(SECTIONS[name].report(figures[name]))


if __name__ == "__main__":
    main()
