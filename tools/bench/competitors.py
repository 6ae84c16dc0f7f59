"""Servers that a run starts and ends: the gateway, and actix-web with nothing but the answer."""

import contextlib
import os
import subprocess
import time

import process_stats

STOP_SECONDS = 20


class Server:
    """A program that says `listening on URL` when it is ready; ended when the block is left."""

    def __init__(self, command, core=None, environment=None, log=subprocess.DEVNULL):
        pinned = ["taskset", "-c", str(core)] if core is not None else []
        # A session of its own: an interrupt ends the script, and the script ends the server.
        self.process = subprocess.Popen(
            [*pinned, *map(str, command)],
            env={**clean_environment(), **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        self.pid = self.process.pid
        for line in self.process.stdout:
            if line.startswith("listening on "):
                self.url = line.split()[-1]
                return
        raise SystemExit(f"bench: {command[0]} ended with {self.process.wait()} before it was ready")

    def pids(self):
        return process_stats.family(self.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def clean_environment():
    """Nothing of the gateway's settings comes from the shell that runs this."""
    return {name: value for name, value in os.environ.items() if not name.startswith("NOVA_IMAGE_PROXY")}


def settings(cloud, **changed):
    """The gateway's environment: Keystone mode, all else as it comes but for what is named."""
    values = {
        "SERVER__LISTEN": "127.0.0.1:0",
        "SERVER__WORKERS": "1",
        "ADMIN__LISTEN": "127.0.0.1:0",
        "AUTH__MODE": "keystone",
        "KEYSTONE__AUTH_URL": cloud.identity_url,
        "GLANCE__ENDPOINTS": cloud.image,
        "LOG__ACCESS": "false",
        **changed,
    }
    return {f"NOVA_IMAGE_PROXY__{name}": value for name, value in values.items()}


def gateway(binary, core, cloud, log=subprocess.DEVNULL, **changed):
    return Server([binary, "serve"], core, settings(cloud, **changed), log)


class Logged:
    """A file for a log, emptied between rounds: the disk must not fill."""

    def __init__(self, path):
        self.path = path
        self.file = open(path, "ab")

    def check(self, requests):
        """Every request has its line, if not at once."""
        deadline = time.monotonic() + 2
        while (lines := self.lines()) < requests:
            if time.monotonic() > deadline:
                raise SystemExit(f"bench: {requests} requests were answered and {lines} are in the access log")
            time.sleep(0.1)

    def lines(self):
        with open(self.path, "rb") as file:
            return sum(1 for _ in file)

    def empty(self):
        os.truncate(self.path, 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        with contextlib.suppress(OSError):
            self.path.unlink()


def recorded(answer, body):
    """An answer as bytes on the wire, for the baseline to repeat."""
    head = [f"HTTP/1.1 {answer.status} {answer.reason}"]
    head += [f"{name}: {value}" for name, value in answer.getheaders()]
    return "\r\n".join([*head, "", ""]).encode() + body


def check_same(one, other):
    """Both answers have the same headers, in any order, and the same bytes."""
    def essence(answer, body):
        headers = sorted(
            (name.lower(), value) for name, value in answer.getheaders() if name.lower() != "date"
        )
        return answer.status, headers, body

    if essence(*one) != essence(*other):
        raise SystemExit(f"bench: the baseline does not repeat the answer: {essence(*other)[:2]}")
