"""The same cached response from each competitor, in alternation."""

import contextlib
from dataclasses import dataclass

import load_client
import nginx
from competitors import Logged, Server, check_same, gateway, recorded
from table import judged, median, spread, table

GATEWAY, LOGGING, BASELINE, NGINX, NOVA = (
    "gateway", "gateway, access log", "actix-web alone", "nginx `proxy_cache`", "Nova",
)  # fmt: skip
HIT = "nova-image-proxy; hit"
# case → (images in the list or None for a show, whether one more is queued)
CASES = {
    "show": (None, False),
    "detail-13": (13, False),
    "detail-200": (200, False),
    "detail-1000": (1000, False),
    "detail-13-queued": (13, True),
}
# The gateway against each of the others: (competitor, other, target ratio)
WANTED = ((GATEWAY, BASELINE, 0.85), (LOGGING, BASELINE, 0.70), (GATEWAY, NGINX, 1.1), (GATEWAY, NOVA, 500))


@dataclass
class Competitor:
    """A competitor: its URL, its processes, and the length of its response."""

    name: str
    url: str
    pids: list
    size: int
    log: Logged | None = None


def run(options, cloud):
    """All cases; returns case → competitor → rounds."""
    figures = {}
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(Logged(options.scratch / "access.log"))
        # Not the default 2 s: a refill every two seconds would be counted to the hits.
        plain = {"CACHE__TTL": "1h"}
        quiet = gateway(options.gateway, options.cores[0], cloud, **plain)
        quiet = stack.enter_context(quiet)
        logging = gateway(
            options.gateway, options.cores[0], cloud, log.file, LOG__ACCESS="true", **plain
        )
        logging = stack.enter_context(logging)
        front = None
        if "nginx" in options.competitors:
            home = options.scratch / "nginx"
            front = stack.enter_context(nginx.Nginx(home, options.cores[0], cloud.compute))
        for name in options.cases:
            images, queued = CASES[name]
            path, token = prepare(cloud, images, queued)
            with contextlib.ExitStack() as case:
                all_ = competitors(options, cloud, case, (path, token, queued), quiet, logging, log, front)
                figures[name] = rounds(options, all_, path, token, log)
                check_kept(quiet, logging, path, token, queued)
    return figures


def prepare(cloud, images, queued):
    """The path of a case, and the token of a caller who sees just these images."""
    project = f"bench-{'show' if images is None else images}{'-queued' if queued else ''}"
    ids = cloud.add_images(project, images or 1)
    if queued:
        cloud.add_queued(project)
    path = "/v2.1/images/detail" if images else f"/v2.1/images/{ids[0]}"
    return path, cloud.token(project)


def competitors(options, cloud, case, question, quiet, logging, log, front):
    path, token, queued = question
    for each in (quiet, logging):
        load_client.ask(each.url, path, token)
    answer = load_client.ask(quiet.url, path, token)
    check_hit(answer[0])
    size = len(answer[1])
    found = [
        Competitor(GATEWAY, quiet.url, quiet.pids(), size),
        Competitor(LOGGING, logging.url, logging.pids(), size, log),
    ]
    if "baseline" in options.competitors:
        file = options.scratch / "answer"
        file.write_bytes(recorded(*answer))
        baseline = case.enter_context(Server([options.baseline, file], options.cores[0]))
        check_same(answer, load_client.ask(baseline.url, path, token))
        found.append(Competitor(BASELINE, baseline.url, baseline.pids(), size))
    # nginx and Nova are not asked for what neither keeps for long nor gives fast.
    if front and not queued:
        size = front.check_hit(path, token)
        found.append(Competitor(NGINX, front.url, front.pids(), size))
    if "nova" in options.competitors and not queued:
        size = len(load_client.ask(cloud.compute, path, token)[1])
        found.append(Competitor(NOVA, cloud.compute, cloud.nova_pids(), size))
    return found


def rounds(options, all_, path, token, log):
    figures = {each.name: [] for each in all_}
    for _ in range(options.rounds * options.seconds // load_client.TURN):
        for each in all_:
            figures[each.name].append(one_round(options, each, path, token))
            log.empty()
    return figures


def one_round(options, competitor, path, token):
    url = competitor.url + path
    if competitor.name == NOVA:
        work = lambda: load_client.one_by_one(url, token, load_client.TURN)  # noqa: E731
    else:
        work = lambda: load_client.GENERATORS[options.generator](options, url, token)  # noqa: E731
    figures = load_client.measured(competitor.pids, options.cores, work)
    if competitor.log:
        competitor.log.check(figures["requests"])
    figures["kept"] = figures["generator"] < load_client.SATURATED
    figures["bytes"] = competitor.size
    options.note(f"{path[:30]:30} {competitor.name:20} {brief(figures)}")
    return figures


def brief(figures):
    thrown = "" if figures["kept"] else "  discarded: the generator had no time left"
    cpu, rate = figures["cpu"] * 1e6, figures["rate"]
    return f"{cpu:11.1f} µs CPU  {rate:10.1f}/s  server {figures['server']:.0%}  generator {figures['generator']:.0%}{thrown}"


def check_hit(answer):
    status = answer.getheader("Cache-Status")
    if status != HIT:
        raise SystemExit(f"bench: the gateway says {status!r} where it must say {HIT!r}")


def check_kept(quiet, logging, path, token, queued):
    """The rounds were hits to the end; an answer with a queued image lives a second."""
    for each in (quiet, logging):
        answer = load_client.ask(each.url, path, token)
        if not queued:
            check_hit(answer[0])


def kept(rounds_, field):
    return [each[field] for each in rounds_ if each["kept"]]


def report(figures):
    """The tables."""
    return f"### Hits\n\n{measured_table(figures)}\n{ratio_table(figures)}\n{disturbance(figures)}"


def disturbance(figures):
    """How quiet the machine was."""
    others = [
        each["others"]
        for by_name in figures.values()
        for name, rounds_ in by_name.items()
        for each in rounds_
        if name != NOVA
    ]
    return f"Others took {median(others):.0%} of the two cores in the median round, {max(others):.0%} in the worst.\n"


def measured_table(figures):
    rows = []
    for case, by_name in figures.items():
        for name, rounds_ in by_name.items():
            cpu = spread(kept(rounds_, "cpu"), 1e6)
            rate = spread(kept(rounds_, "rate"), 1, 0 if name != NOVA else 2)
            thrown = sum(not each["kept"] for each in rounds_)
            size = f"{rounds_[0]['bytes']:,}"
            rows.append([case, name, size, *cpu, *rate, f"{thrown} of {len(rounds_)}"])
    head = ["case", "competitor", "bytes", "CPU µs/request", "min", "max", "requests/s", "min", "max", "discarded"]
    return table(head, rows)


def ratio_table(figures):
    rows = []
    for case, by_name in figures.items():
        for who, whom, bound in WANTED:
            if who in by_name and whom in by_name:
                rows.append([case, f"{who} / {whom}", *ratios(by_name[who], by_name[whom], bound)])
    return table(["case", "ratio", "of CPU", "target", "of requests/s"], rows)


def ratios(one, other, bound):
    """How many times the other's work `one` does in the same CPU time, and in the same time."""
    cpu = [median(kept(each, "cpu")) for each in (other, one)]
    rate = [median(kept(each, "rate")) for each in (one, other)]
    if None in cpu + rate:
        return ["–", f"≥ {bound:g} not measured", "–"]
    by_cpu = cpu[0] / cpu[1]
    return [f"{by_cpu:,.2f}", judged(by_cpu, bound, least=True), f"{rate[0] / rate[1]:,.2f}"]
