"""What the gateway adds to one show that it has to ask Glance for.

One client, one connection to each, kept open by all; a request by way of the gateway and one to Glance in
turn, so that both see the same moments of the machine.
"""

import json

import load_client
import process_stats
from competitors import gateway
from table import judged, median, spread, table

PAIRS_A_ROUND = 500
ADDED, CPU = 300, 150  # µs


def run(options, cloud):
    project = "bench-cold"
    (image,) = cloud.add_images(project, 1)
    token = cloud.token(project)
    # As for every competitor: the servers on one core, the client on the other.
    cloud.pin_to_server("glance")
    try:
        with gateway(options.gateway, options.cores[0], cloud, CACHE__ENABLED="false") as server:
            figures = pairs(options, server, cloud.image, image, token)
    finally:
        cloud.pin()
    return figures


def pairs(options, server, glance, image, token):
    by_gateway, direct = load_client.Connection(server.url), load_client.Connection(glance)

    def through():
        return by_gateway.ask(f"/v2.1/images/{image}", token)

    def past():
        return direct.ask(f"/v2/images/{image}", token)

    for _ in range(50):
        (_, body), _ = through(), past()
    if json.loads(body)["image"]["id"] != image:
        raise load_client.Failed("bench: the gateway shows another image")
    pids = server.pids()
    seconds = {"gateway": [], "Glance": []}
    cpu = process_stats.cpu_seconds(pids)
    for number in range(options.rounds * PAIRS_A_ROUND):
        turn = [("gateway", through), ("Glance", past)]
        for name, work in turn if number % 2 else reversed(turn):
            seconds[name].append(load_client.timed(work)[0])
    cpu = (process_stats.cpu_seconds(pids) - cpu) / len(seconds["gateway"])
    for connection in (by_gateway, direct):
        connection.close()
    return {"seconds": seconds, "cpu": cpu}


def report(figures):
    seconds = figures["seconds"]
    rows = [[name, *spread(each, 1e6, 0)] for name, each in seconds.items()]
    text = table(["cold show", "median µs", "min", "max"], rows)
    added = (median(seconds["gateway"]) - median(seconds["Glance"])) * 1e6
    cpu = figures["cpu"] * 1e6
    rows = [
        ["added to Glance's median, µs", f"{added:.0f}", judged(added, ADDED)],
        ["the gateway's CPU, µs/request", f"{cpu:.0f}", judged(cpu, CPU)],
    ]
    count = len(seconds["gateway"])
    return f"### Cache misses (GET image), {count} pairs\n\n{text}\n" + table(["", "", "target"], rows)
