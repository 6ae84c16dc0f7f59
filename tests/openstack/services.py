"""One stack: its folder, ports and processes."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
from pathlib import Path

import configs
import installation
from web import OPENER

NAMES = tuple(configs.SERVICES)
DEFAULT_DIR = installation.CACHE / "run"
START_SECONDS = 60
STOP_SECONDS = 15


class StackError(Exception):
    """The stack cannot do what was asked; the message says why."""


class Stack:
    """The services whose state is in one folder.

    `services.json` there remembers each one's port for good, and for one that was started its process
    with the moment it began: after a reboot, or when the number was given to another process, the two
    no longer agree and the service counts as stopped.
    """

    def __init__(self, home):
        self.home = Path(home)
        self.state = self.home / "services.json"
        self.services = json.loads(self.state.read_text()) if self.state.exists() else {}

    @contextlib.contextmanager
    def lock(self):
        """One command at a time changes a stack; what the one before wrote is read again."""
        self.home.parent.mkdir(parents=True, exist_ok=True)
        with installation.locked(self.home.with_name(self.home.name + ".lock")):
            self.__init__(self.home)
            yield

    def save(self):
        write_whole(self.state, self.services)

    def url(self, name):
        if name not in self.services:
            raise StackError(f"there is no {name} in {self.home}; run `stack.py up` first")
        return f"http://127.0.0.1:{self.services[name]['port']}"

    def endpoints(self):
        """The catalog: (service type, service name) → URL."""
        compute = self.url("nova")
        return {
            ("identity", "keystone"): self.url("keystone") + "/v3",
            ("image", "glance"): self.url("glance"),
            ("compute", "nova"): compute + "/v2.1",
            ("compute_legacy", "nova_legacy"): compute + "/v2/%(project_id)s",
        }

    def running(self):
        """The services that run, those that need another one first."""
        return [name for name in reversed(NAMES) if process(self.services.get(name))]

    def start(self, wanted, python, processes, keepalive):
        """Makes the wanted services answer, on the ports they had before where those are free."""
        self.prepare()
        if self.ports_lost():
            for name in self.running():
                self.stop(name)
            self.choose_ports()
        ports = {name: self.services[name]["port"] for name in NAMES}
        configs.write(self.home, ports, installation.VENV, installation.PASSWORD)
        for name in wanted:
            options = {"processes": processes, "keepalive": keepalive}
            if process(self.services[name]) and self.services[name].get("options") != options:
                self.stop(name)
            self.services[name]["options"] = options
            self.spawn(name, python)
        for name in wanted:
            self.wait(name)

    def prepare(self):
        """A folder that was only half filled is filled anew."""
        complete = self.home / "complete"
        if complete.exists():
            return
        for name in self.running():
            self.stop(name)
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        self.services = {}
        installation.copy_template(self.home)
        configs.write_keys(self.home)
        complete.touch()

    def ports_lost(self):
        """Whether a port is not known yet, or was taken by a stranger while its service was down."""
        return any(
            name not in self.services
            or (not process(self.services[name]) and not is_free(self.services[name]["port"]))
            for name in NAMES
        )

    def choose_ports(self):
        with contextlib.ExitStack() as held:
            for name in NAMES:
                listener = held.enter_context(socket.create_server(("127.0.0.1", 0)))
                self.services[name] = {"port": listener.getsockname()[1]}
        self.save()

    def spawn(self, name, python):
        service = self.services[name]
        if process(service):
            return
        with open(self.home / "log" / f"{name}.uwsgi.log", "ab") as log:
            child = subprocess.Popen(
                uwsgi(name, python, **service),
                env={**installation.ENVIRONMENT, **configs.environment(self.home)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        service["pid"], service["began"] = child.pid, began(child.pid)
        self.save()

    def wait(self, name):
        path = {"keystone": "/v3", "nova": "/"}.get(name, "/healthcheck")
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError, urllib.error.URLError):
                with OPENER.open(self.url(name) + path, timeout=10) as answer:
                    if answer.status < 400:
                        return
            gone = not process(self.services[name])
            if gone or time.monotonic() > deadline:
                log = (self.home / "log" / f"{name}.uwsgi.log").read_text(errors="replace")
                tail = "\n".join(log.splitlines()[-25:])
                what = "ended" if gone else f"does not answer after {START_SECONDS} s"
                raise StackError(f"{name} {what}; the end of its log:\n{tail}")
            time.sleep(0.1)

    def restart(self, name, python):
        """Starts one service of a stack that is already set up, where it was before."""
        self.url(name)
        if name in configs.EXTRA:
            self.services[name]["options"] = self.services["glance"]["options"]
        if "options" not in self.services[name]:
            raise StackError(f"{name} never ran in {self.home}; use `stack.py up`")
        self.spawn(name, python)
        self.wait(name)
        self.note_pids()

    def stop(self, name):
        """Stops a service and returns the process it was, None when it did not run."""
        pid = process(self.services.get(name))
        if pid is None:
            return None
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while process(self.services[name]):
            if time.monotonic() > deadline:
                os.killpg(pid, signal.SIGKILL)
                deadline += STOP_SECONDS
            time.sleep(0.05)
        return pid

    def kill(self, name):
        """Ends a service with no chance to finish anything, and returns the process it was."""
        pid = process(self.services.get(name))
        if pid is not None:
            os.killpg(pid, signal.SIGKILL)
            while process(self.services[name]):
                time.sleep(0.01)
        return pid

    def wipe(self):
        shutil.rmtree(self.home, ignore_errors=True)

    def describe(self, content):
        """Writes what a test or a person has to know about this stack."""
        compute = self.url("nova")
        description = {
            "dir": str(self.home),
            "identity": self.url("keystone") + "/v3",
            "identity_public": self.url("keystone"),
            "image": self.url("glance"),
            "compute": compute if process(self.services["nova"]) else None,
            "password": installation.PASSWORD,
            "region": "RegionOne",
            **content,
        }
        write_whole(self.home / "stack.json", description)

    def note_pids(self):
        """Brings the processes named in the description up to date."""
        pids = {name: process(self.services[name]) for name in self.running()}
        write_whole(self.home / "stack.json", {**self.description(), "pids": pids})

    def description(self):
        path = self.home / "stack.json"
        if not path.exists():
            raise StackError(f"there is no stack in {self.home}; run `stack.py up` first")
        return json.loads(path.read_text())


def uwsgi(name, python, port, options, **_):
    """How a service is started; `--lazy-apps` because sqlite connections do not survive a fork."""
    address = f"127.0.0.1:{port}"
    if name == "glance-silent-close":
        # uWSGI's own way: the connection ends after each answer, which does not say so.
        listen = ["--http-socket", address]
    elif options["keepalive"]:
        # uWSGI's router keeps the clients' connections, so that an idle one holds no worker.
        listen = ["--http", address, "--http-keepalive=75", "--http-auto-chunked"]
    else:
        listen = ["--http-socket", address, "--add-header", "Connection: close"]
    return [
        str(python.parent / "uwsgi"), *listen, "--master",
        "--processes", str(options["processes"]), "--threads", "1", "--enable-threads",
        "--lazy-apps", "--need-app", "--die-on-term", "--no-orphans", "--thunder-lock",
        "--buffer-size", "65535", "--listen", "100", "--post-buffering", "65536",
        "--http-timeout", "120", "--so-keepalive", "--disable-logging",
        "--virtualenv", str(installation.VENV), "--module", configs.SERVICES[name], "--pyargv", "",
    ]  # fmt: skip


def write_whole(path, value):
    """Replaces a file at once, so that a reader never sees half of it."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(value, indent=2) + "\n")
    draft.replace(path)


def is_free(port):
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def began(pid):
    """When a live process started, in a form that no other process ever shares; None if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    if stat[0] == "Z":
        # Ended, but not yet collected by its parent.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {stat[19]}"


def process(service):
    """The process of a service that runs, None otherwise."""
    if not service or service.get("pid") is None:
        return None
    return service["pid"] if began(service["pid"]) == service["began"] else None
