#!/usr/bin/env python3
"""How long a list of 10,000 images takes: through the gateway, by Glance's own pages, and from Nova.

    benches/long_list.py [--images 10000] [--rounds 7] [--gateway target/release/nova-image-proxy]

Brings up its own Keystone, Glance and Nova (see tests/openstack/stack.py), fills Glance, and asks
each contestant in turn, round by round, so that all share the machine's good and bad moments. The
figures to quote are the medians and their ratios.
"""

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STACK = ROOT / "tests" / "openstack" / "stack.py"
DIR = ROOT / ".cache" / "openstack" / "bench"
PAGES = "Glance's pages"


def stack(*words):
    command = [sys.executable, str(STACK), words[0], "--dir", str(DIR), *words[1:]]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def get(base, path, token):
    where = urllib.parse.urlsplit(base)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=300)
    connection.request("GET", path, headers={"X-Auth-Token": token})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"{base}{path}: {answer.status} {body[:300]}")
    return body


def timed(contestant):
    started = time.perf_counter()
    result = contestant()
    return time.perf_counter() - started, result


def pages_timed(base, token):
    """Seconds until Glance has given all pages, without what this script takes to read them, and how many."""
    path, spent, calls = "/v2/images?limit=1000", 0.0, 0
    while path:
        seconds, body = timed(lambda at=path: get(base, at, token))
        spent, calls = spent + seconds, calls + 1
        path = json.loads(body).get("next")
    return spent, calls


def start_gateway(binary, about):
    settings = {
        "SERVER__LISTEN": "127.0.0.1:0",
        "KEYSTONE__URL": about["identity"],
        "GLANCE__ENDPOINTS": about["image"],
        "ADMIN__LISTEN": "off",
        "LOG__ACCESS": "false",
    }
    names = {f"NOVA_IMAGE_PROXY__{name}": value for name, value in settings.items()}
    process = subprocess.Popen(
        [binary, "serve"], env={**os.environ, **names}, stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if line.startswith("listening on "):
            return process, line.split()[-1]
    raise SystemExit(f"the gateway ended with {process.wait()}")


def peak_mib(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def machine():
    model = next(
        (line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
        "unknown",
    )
    return f"{os.cpu_count()} cores, {model}; load before {os.getloadavg()[0]:.1f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--without-nova", action="store_true", help="only Glance and the gateway")
    parser.add_argument("--gateway", default=str(ROOT / "target" / "release" / "nova-image-proxy"))
    args = parser.parse_args()
    stack("up", *([] if args.without_nova else ["--with-nova"]))
    gateway = None
    try:
        about = json.loads((DIR / "stack.json").read_text())
        stack("seed", "--bulk", str(args.images))
        gateway, base = start_gateway(args.gateway, about)
        idle = peak_mib(gateway.pid)
        token = stack("token", "admin").strip()
        detail = "/v2.1/images/detail"
        contestants = {
            PAGES: lambda: pages_timed(about["image"], token),
            "gateway": lambda: (timed(lambda: get(base, detail, token))[0], 1),
        }
        if not args.without_nova:
            contestants["Nova"] = lambda: (timed(lambda: get(about["compute"], detail, token))[0], 1)
        seconds = {name: [] for name in contestants}
        for name, ask in contestants.items():
            ask()  # a cold worker's first answer is slow
        for _ in range(args.rounds):
            for name, ask in contestants.items():
                seconds[name].append(ask()[0])
        body = get(base, detail, token)
        count = len(json.loads(body)["images"])
        medians = {name: statistics.median(all_) for name, all_ in seconds.items()}
        print(f"{count} images in full, {args.rounds} rounds; {machine()}")
        for name, all_ in seconds.items():
            print(f"{name:16} median {medians[name]:7.3f} s   min {min(all_):7.3f}   max {max(all_):7.3f}")
        for other in contestants.keys() - {"gateway"}:
            rounds = statistics.median(a / b for a, b in zip(seconds["gateway"], seconds[other]))
            ratio = medians["gateway"] / medians[other]
            print(f"gateway / {other:16} {ratio:.3f}   (median of the rounds' ratios {rounds:.3f})")
        size, peak = len(body) / 2**20, peak_mib(gateway.pid)
        print(f"answer {size:.1f} MiB; the gateway's memory: idle {idle:.1f} MiB, peak {peak:.1f} MiB")
    finally:
        if gateway:
            gateway.terminate()
            gateway.wait()
        stack("down", "--wipe")


if __name__ == "__main__":
    main()
