"""How often Glance is called: counted between the gateway and Glance, not by the gateway."""

import collections
import http.client
import http.server
import threading
import urllib.parse

import load_client
from competitors import gateway
from table import exactly, table

# Headers of one hop, and those that are written anew.
HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "server", "date"}


class Handler(http.server.BaseHTTPRequestHandler):
    """Passes a request on and its answer back."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    glance = None

    def setup(self):
        super().setup()
        self.glance = http.client.HTTPConnection(*self.server.glance, timeout=300)

    def finish(self):
        self.glance.close()
        super().finish()

    def forward(self):
        self.server.counts[self.command] += 1
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        sent = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
        self.glance.request(self.command, self.path, body, sent)
        answer = self.glance.getresponse()
        content = answer.read()
        head = [f"HTTP/1.1 {answer.status} {answer.reason}", f"Content-Length: {len(content)}"]
        head += [f"{name}: {value}" for name, value in answer.getheaders() if name.lower() not in HOP]
        self.wfile.write("\r\n".join([*head, "", ""]).encode("latin-1") + content)

    do_GET = do_HEAD = do_PATCH = do_POST = do_PUT = do_DELETE = forward

    def log_message(self, *_):
        """Logs nothing: only the counts matter."""


class Counting(http.server.ThreadingHTTPServer):
    """A Glance that counts, on a port of its own."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, glance):
        where = urllib.parse.urlsplit(glance)
        self.glance = where.hostname, where.port
        self.counts = collections.Counter()
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)
        self.thread.start()

    def total(self):
        return sum(self.counts.values())

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


def run(options, cloud):
    """Operation → calls the first time, and when it is asked again at once."""
    project = "bench-calls"
    image = cloud.add_images(project, 1000)[0]
    token = cloud.token(project)
    show = f"/v2.1/images/{image}"
    write = b'{"metadata": {"bench": "1"}}'
    # name, request, calls wanted, calls wanted when nothing has changed
    operations = [
        ("show", (show, "GET", None), 1, 0),
        ("metadata", (show + "/metadata", "GET", None), 1, 0),
        ("list of 100", ("/v2.1/images?limit=100", "GET", None), 1, 0),
        ("list of 1,000 in full", ("/v2.1/images/detail", "GET", None), 2, 0),
        ("one metadata item written", (show + "/metadata", "POST", write), 2, None),
        ("the same show after the write", (show, "GET", None), 1, 0),
    ]
    figures = []
    with Counting(cloud.image) as glance:
        more = {"GLANCE__ENDPOINTS": glance.url, "CACHE__TTL": "1h"}
        with gateway(options.gateway, options.cores[0], cloud, **more) as server:
            for name, (path, method, body), first, again in operations:
                asked = []
                for _ in range(1 if again is None else 2):
                    before = glance.total()
                    load_client.ask(server.url, path, token, method=method, body=body)
                    asked.append(glance.total() - before)
                figures.append({"name": name, "calls": asked, "wanted": [first, again]})
    return figures


def report(figures):
    rows = []
    for each in figures:
        cells = [each["name"]]
        for calls, wanted in zip(each["calls"], each["wanted"]):
            cells += [calls, exactly(calls, wanted)]
        rows.append(cells + ["–"] * (5 - len(cells)))
    head = ["calls to Glance", "first", "target", "again", "target"]
    return "### Calls to Glance\n\n" + table(head, rows)
