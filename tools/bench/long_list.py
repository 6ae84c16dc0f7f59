"""A list of 10,000 images: the gateway against Glance's own pages and Nova, and what memory it takes."""

import json

import load_client
import process_stats
from calls import Counting
from cloud import BULK
from competitors import gateway
from table import exactly, judged, median, spread, table

PATH = "/v2.1/images/detail"
SUM, NOVA_SHARE = 1.05, 0.5


def run(options, cloud):
    # Glance is quicker for an administrator, so the gateway's part shows more.
    token = cloud.only_bulk()
    with gateway(options.gateway, options.cores[0], cloud, CACHE__ENABLED="false") as server:
        competitors = {
            "Glance's pages": lambda: pages(cloud.image, token),
            "gateway": lambda: whole(server.url, token),
            "Nova": lambda: whole(cloud.compute, token),
        }
        seconds = {name: [] for name in competitors}
        for ask in competitors.values():
            ask()  # the first answer of a cold worker is slow
        for _ in range(options.rounds):
            for name, ask in competitors.items():
                seconds[name].append(ask())
                options.note(f"{name:20} {seconds[name][-1]:.2f} s")
    return {"seconds": seconds, "pages": page_sizes(cloud.image, token), **memory(options, cloud, token)}


def whole(url, token):
    """Seconds until the whole list is there; reading its JSON is not counted."""
    spent, (_, body) = load_client.timed(lambda: load_client.ask(url, PATH, token))
    if (found := len(json.loads(body)["images"])) != BULK:
        raise load_client.Failed(f"bench: {url} lists {found} images instead of {BULK}")
    return spent


def each_page(glance, token):
    """Seconds and size of Glance's pages, one after the other; the script's reading is not counted."""
    connection, path = load_client.Connection(glance), "/v2/images?limit=1000"
    while path:
        spent, (_, body) = load_client.timed(lambda at=path: connection.ask(at, token))
        yield spent, len(body)
        path = json.loads(body).get("next")
    connection.close()


def pages(glance, token):
    return sum(spent for spent, _ in each_page(glance, token))


def page_sizes(glance, token):
    return [size for _, size in each_page(glance, token)]


def memory(options, cloud, token):
    """A gateway with its own settings but for the place of Glance, at rest and after one long list."""
    with Counting(cloud.image) as glance:
        more = {"GLANCE__ENDPOINTS": glance.url}
        with gateway(options.gateway, options.cores[0], cloud, **more) as server:
            idle = process_stats.memory_mib(server.pid, "VmRSS")
            _, body = load_client.ask(server.url, PATH, token)
            peak = process_stats.memory_mib(server.pid, "VmHWM")
        return {"idle": idle, "peak": peak, "answer": len(body), "calls": glance.total()}


def report(figures):
    seconds = figures["seconds"]
    rows = [[name, *spread(each, 1, 2)] for name, each in seconds.items()]
    text = f"### A list of {BULK:,} images\n\n" + table(["", "median s", "min", "max"], rows) + "\n"
    return text + table(["", "", "target"], list(verdicts(figures)))


def verdicts(figures):
    seconds = figures["seconds"]
    for other, bound in (("Glance's pages", SUM), ("Nova", NOVA_SHARE)):
        ratio = median(seconds["gateway"]) / median(seconds[other])
        of_rounds = median(a / b for a, b in zip(seconds["gateway"], seconds[other]))
        name = f"gateway / {other} (median of the rounds' ratios {of_rounds:.3f})"
        yield [name, f"{ratio:.3f}", judged(ratio, bound)]
    count = len(figures["pages"])
    yield [f"calls to Glance, which has {count} pages", figures["calls"], exactly(figures["calls"], count)]
    answer, page = figures["answer"] / 2**20, max(figures["pages"]) / 2**20
    bound = round(2 * answer + 3 * page + figures["idle"], 1)
    name = f"peak memory, MiB (idle {figures['idle']:.1f}, answer {answer:.1f}, Glance's page {page:.1f})"
    yield [name, f"{figures['peak']:.1f}", judged(figures["peak"], bound)]
