"""How often polling clients meet a kept answer while somebody writes.

Fifty projects poll: each asks for one image twice a second, as clients do that wait for a snapshot, and
lists all images every five seconds. A writer changes the metadata of those images in turn, five times a
second. All of the gateway's settings are its own.
"""

import collections
import threading
import time

import load_client
from calls import Counting
from competitors import gateway
from table import table

SCOPES, IMAGES = 50, 10
WRITES_A_SECOND = 5
SHOW_EVERY, LIST_EVERY = 0.5, 5.0
SECONDS_A_ROUND = 5


class Clock:
    """When a run ends, and what its clients found."""

    def __init__(self, seconds):
        self.end = time.monotonic() + seconds
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.trouble = []

    def count(self, kind, outcome):
        with self.lock:
            self.counts[kind, outcome] += 1

    def every(self, period, offset):
        """Ends of equal periods until the run is over; late ones follow each other at once."""
        due = time.monotonic() + offset
        while due < self.end:
            time.sleep(max(0.0, due - time.monotonic()))
            yield
            due += period


def run(options, cloud):
    images = cloud.add_images("bench-writer", IMAGES)
    cloud.change("update images set visibility = 'public' where owner = '%s'" % cloud.projects["bench-writer"])
    tokens = [cloud.token(f"bench-scope-{number}") for number in range(SCOPES)]
    cloud.pin_to_server("glance")
    try:
        with Counting(cloud.image) as glance:
            more = {"GLANCE__ENDPOINTS": glance.url}
            with gateway(options.gateway, options.cores[0], cloud, **more) as server:
                for token in tokens:  # Keystone is asked about each one now, not about all at once
                    load_client.ask(server.url, f"/v2.1/images/{images[0]}", token)
                glance.counts.clear()
                clock = Clock(options.rounds * SECONDS_A_ROUND)
                poll(clock, server.url, tokens, images, cloud.token("bench-writer"))
            calls = dict(glance.counts)
    finally:
        cloud.pin()
        cloud.change("update images set visibility = 'private' where visibility = 'public'")
    counts = [[*key, number] for key, number in sorted(clock.counts.items())]
    return {"counts": counts, "calls": calls, "seconds": options.rounds * SECONDS_A_ROUND}


def poll(clock, url, tokens, images, writer):
    threads = [threading.Thread(target=guarded, args=(clock, write, url, writer, images))]
    for number, token in enumerate(tokens):
        share = number / len(tokens)
        image = images[number % len(images)]
        for kind, path, period in (
            ("show", f"/v2.1/images/{image}", SHOW_EVERY),
            ("list", "/v2.1/images/detail", LIST_EVERY),
        ):
            asks = (clock, read, url, token, kind, path, period, share)
            threads.append(threading.Thread(target=guarded, args=asks))
    for thread in threads:
        thread.daemon = True
        thread.start()
    for thread in threads:
        thread.join()
    if clock.trouble:
        raise clock.trouble[0]


def guarded(clock, work, *arguments):
    """A client's failure is the run's."""
    try:
        work(clock, *arguments)
    except BaseException as error:  # noqa: BLE001
        clock.trouble.append(error)
        clock.end = 0


def read(clock, url, token, kind, path, period, share):
    connection = load_client.Connection(url)
    for _ in clock.every(period, period * share):
        answer, _ = connection.ask(path, token)
        clock.count(kind, answer.getheader("Cache-Status").partition("; ")[2])
    connection.close()


def write(clock, url, token, images):
    connection = load_client.Connection(url)
    for number, _ in enumerate(clock.every(1 / WRITES_A_SECOND, 0)):
        body = b'{"metadata": {"bench": "%d"}}' % number
        connection.ask(f"/v2.1/images/{images[number % len(images)]}/metadata", token, "POST", body)
        clock.count("write", "done")
    connection.close()


def report(figures):
    counts = {(kind, outcome): number for kind, outcome, number in figures["counts"]}
    rows = []
    for kind in ("show", "list"):
        total = sum(number for (of, _), number in counts.items() if of == kind)
        hits = counts.get((kind, "hit"), 0)
        rows.append([kind, total, f"{total / figures['seconds']:.0f}", f"{hits / total:.0%}"])
    writes, seconds = counts.get(("write", "done"), 0), figures["seconds"]
    rows.append(["write", writes, f"{writes / seconds:.1f}", "–"])
    calls = ", ".join(f"{number} {method}" for method, number in sorted(figures["calls"].items()))
    text = table(["", "answers", "a second", "hits"], rows)
    return f"### {SCOPES} scopes poll while one writer writes, {seconds} s\n\n{text}\nCalls to Glance: {calls}.\n"
