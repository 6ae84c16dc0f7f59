"""How soon the gateway is ready, and how much memory it holds."""

import os
import time

import load_client
import process_stats
from competitors import gateway
from table import judged, median, spread, table

STARTS_A_ROUND = 4
READY, IDLE = 100, 20  # ms, MiB
LISTS = 1000
IMAGES = 13


def run(options, cloud):
    """As an operator starts it: on both cores, with a worker for each."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(options.cores))
    try:
        return {"ready": starts(options, cloud), **memory(options, cloud)}
    finally:
        os.sched_setaffinity(0, own)


def start(options, cloud, **more):
    return gateway(options.gateway, None, cloud, SERVER__WORKERS="0", **more)


def starts(options, cloud):
    """Seconds from just before the program is executed to its first answer."""
    seconds = []
    for _ in range(options.rounds * STARTS_A_ROUND):
        began = time.perf_counter()
        with start(options, cloud) as server:
            connection = load_client.Connection(server.url)
            connection.ask("/", "none", wanted=(200,))
            seconds.append(time.perf_counter() - began)
            connection.close()
    return seconds


def memory(options, cloud):
    project = "bench-memory"
    cloud.add_images(project, IMAGES)
    token = cloud.token(project)
    with start(options, cloud, CACHE__TTL="1h") as server:
        time.sleep(1)
        idle = process_stats.memory_mib(server.pid, "VmRSS")
        connection, size = load_client.Connection(server.url), 0
        for turn in ("miss", "hit"):
            for number in range(LISTS):
                # All images have changed since, so each answer is as long as the one without a filter.
                since = f"2020-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z"
                path = f"/v2.1/images/detail?changes-since={since}"
                answer, body = connection.ask(path, token)
                if not answer.getheader("Cache-Status").endswith(turn):
                    raise load_client.Failed(f"bench: {path} is no {turn}: {answer.getheader('Cache-Status')}")
                size += len(body)
        connection.close()
        full = process_stats.memory_mib(server.pid, "VmRSS")
    return {"idle": idle, "lists": full, "size": size / 2 / 2**20}


def report(figures):
    ready = spread(figures["ready"], 1e3, 1)
    limit = judged(median(figures["ready"]) * 1e3, READY)
    text = table(["", "median ms", "min", "max", "target"], [["exec to first response", *ready, limit]])
    rows = [
        ["idle", f"{figures['idle']:.1f}", judged(figures["idle"], IDLE)],
        [f"{LISTS:,} lists kept, {figures['size']:.1f} MiB of answers", f"{figures['lists']:.1f}", "–"],
    ]
    return f"### Start and memory\n\n{text}\n" + table(["resident", "MiB", "target"], rows)
