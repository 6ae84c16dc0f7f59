"""The load: `load_generator.rs` or wrk for fast servers, one connection in Python for slow ones."""

import http.client
import json
import os
import re
import subprocess
import time
import urllib.parse

import process_stats

# What a client of the old API sends.
CLIENT = {
    "User-Agent": "python-novaclient",
    "Accept": "application/json",
    "X-OpenStack-Nova-API-Version": "2.1",
}
CONNECTIONS = 32
# Seconds that a competitor is asked before it is the next one's turn: a shared machine changes its
# pace within a few.
TURN = 1
# From this share of its core on, the generator and not the server may be what is measured.
SATURATED = 0.97


class Failed(SystemExit):
    """A competitor sent another response than the expected one."""


def headers(token):
    return {**CLIENT, "X-Auth-Token": token}


class Connection:
    """One client that keeps its connection."""

    def __init__(self, url, timeout=300):
        where = urllib.parse.urlsplit(url)
        self.host, self.prefix = where.netloc, where.path.rstrip("/")
        self.http = http.client.HTTPConnection(where.hostname, where.port, timeout=timeout)

    def ask(self, path, token, method="GET", body=None, wanted=(200,)):
        """The answer and its body; anything but a wanted status ends the run."""
        sent = headers(token)
        if body is not None:
            sent["Content-Type"] = "application/json"
        self.http.request(method, self.prefix + path, body, sent)
        answer = self.http.getresponse()
        content = answer.read()
        if answer.status not in wanted:
            text = content[:300].decode("utf-8", "replace")
            raise Failed(f"bench: {method} {self.host}{path}: {answer.status} {text}")
        return answer, content

    def close(self):
        self.http.close()


def ask(url, path, token, **more):
    """One request on a connection of its own."""
    connection = Connection(url)
    try:
        return connection.ask(path, token, **more)
    finally:
        connection.close()


def timed(work):
    """Seconds that `work` took, and what it returned."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def lean(options, url, token):
    """One round of `load_generator.rs`."""
    where = urllib.parse.urlsplit(url)
    lines = [f"GET {where.path} HTTP/1.1", f"Host: {where.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers(token).items()]
    request = options.scratch / "request"
    request.write_bytes("\r\n".join([*lines, "", ""]).encode())
    text, share = generated(options, [options.load_generator, where.netloc, request, CONNECTIONS, TURN])
    # It never sleeps, so all of its core is its own; how busy it was it says itself.
    figures = json.loads(text)
    return {**figures, "generator": 1 - figures["idle"], "generator_cpu": share}


def wrk(options, url, token):
    """One round of wrk."""
    command = ["wrk", "--threads", 1, "--connections", CONNECTIONS]
    command += ["--duration", f"{TURN}s", "--latency"]
    for name, value in headers(token).items():
        command += ["--header", f"{name}: {value}"]
    text, share = generated(options, [*command, url])
    return {**counted(url, text), "generator": share}


GENERATORS = {"lean": lean, "wrk": wrk}


def generated(options, command):
    """What a generator on its core printed, and how much of that core it took."""
    command = ["taskset", "-c", *map(str, [options.cores[1], *command])]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            text = process.stdout.read()
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            process.kill()
            raise
    wall = time.perf_counter() - started
    if process.returncode:
        raise Failed(f"bench: {command[3]} ended with {process.returncode}: {text}")
    return text, (used.ru_utime + used.ru_stime) / wall


def counted(url, text):
    """What wrk printed, as numbers."""
    bad = re.search(r"Non-2xx or 3xx responses: \d+|Socket errors: .*", text)
    found = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m),", text)
    if bad or not found or found[1] == "0":
        raise Failed(f"bench: {url} did not answer every request as it should:\n{text}")
    seconds = float(found[2]) * {"ms": 1e-3, "s": 1, "m": 60}[found[3]]
    units = {"us": 1e-6, "ms": 1e-3, "s": 1}
    latency = {
        f"p{share}": float(value) * units[unit]
        for share, value, unit in re.findall(r"^ +(50|99)%\s+([\d.]+)(us|ms|s)$", text, re.MULTILINE)
    }
    return {"requests": int(found[1]), "seconds": seconds, **latency}


def one_by_one(url, token, seconds):
    """The same for a server that takes long: whole requests, one after the other."""
    where = urllib.parse.urlsplit(url)
    connection = Connection(f"{where.scheme}://{where.netloc}")
    started, times = time.perf_counter(), []
    while (passed := time.perf_counter() - started) < seconds:
        times.append(timed(lambda: connection.ask(where.path, token))[0])
    connection.close()
    passed = time.perf_counter() - started
    middle = sorted(times)[len(times) // 2]
    return {"requests": len(times), "seconds": passed, "p50": middle, "generator": 0.0}


def measured(pids, cores, work):
    """`work`'s figures with the server's CPU time for each request, and what others took of the cores."""
    cpu, busy = process_stats.cpu_seconds(pids), process_stats.cores_busy(cores)
    wall, figures = timed(work)
    cpu = process_stats.cpu_seconds(pids) - cpu
    own = cpu + figures.get("generator_cpu", figures["generator"]) * wall
    return {
        **figures,
        "rate": figures["requests"] / figures["seconds"],
        "cpu": cpu / figures["requests"],
        "server": cpu / wall,
        "others": max(0.0, process_stats.cores_busy(cores) - busy - own) / (wall * len(cores)),
    }
