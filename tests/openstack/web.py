"""JSON over HTTP to the services of one stack."""

import json
import urllib.error
import urllib.request

from installation import PASSWORD

# Never through the machine's proxy.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class CallError(OSError):
    """A service answered with a status the caller did not allow."""


def call(method, url, body=None, token=None, content_type="application/json", allow=()):
    """Returns (status, parsed body or None, headers); `bytes` go out as they are, the rest as JSON."""
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    headers = {"Content-Type": content_type, **({"X-Auth-Token": token} if token else {})}
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        answer = OPENER.open(request, timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        raw = answer.read()
    if answer.status >= 400 and answer.status not in allow:
        raise CallError(f"{method} {url}: {answer.status} {raw[:500].decode('utf-8', 'replace')}")
    is_json = raw and "json" in (answer.headers.get("Content-Type") or "")
    return answer.status, json.loads(raw) if is_json else None, answer.headers


class Identity:
    """Keystone, with the tokens of the users asked for so far."""

    def __init__(self, url):
        self.url = url
        self.tokens = {}

    def token(self, user, project):
        """A token for `user` in `project`; unscoped when that is None."""
        if (user, project) not in self.tokens:
            domain = {"name": "Default"}
            who = {"name": user, "domain": domain, "password": PASSWORD}
            scope = {"project": {"name": project, "domain": domain}} if project else "unscoped"
            body = {
                "auth": {
                    "identity": {"methods": ["password"], "password": {"user": who}},
                    "scope": scope,
                }
            }
            _, _, headers = call("POST", self.url + "/auth/tokens", body)
            self.tokens[user, project] = headers["X-Subject-Token"]
        return self.tokens[user, project]

    def call(self, method, path, body=None):
        """One call as the cloud's administrator."""
        return call(method, self.url + path, body, self.token("admin", "admin"))[1]
