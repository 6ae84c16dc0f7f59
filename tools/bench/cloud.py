"""Real Keystone, Glance and Nova for one run, and what they hold.

The callers work in projects of their own and see exactly the images that are meant: those of the
stack's tests are made private before anything is measured.
"""

import contextlib
import json
import sqlite3
import subprocess
import sys
import uuid
from pathlib import Path

import process_stats

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests" / "openstack"
DIR = ROOT / ".cache" / "openstack" / "bench"
sys.path.insert(0, str(TESTS))

import content  # noqa: E402
import web  # noqa: E402
from installation import PASSWORD  # noqa: E402

USER = "bench"
BULK = 10_000


def stack(*words):
    command = [sys.executable, str(TESTS / "stack.py"), words[0], "--dir", str(DIR), *words[1:]]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"bench: stack.py {words[0]} ended with {done.returncode}")
    return done.stdout


class Cloud:
    """The services. One process each: a competitor has one worker."""

    def __init__(self, cores):
        self.server, self.rest = cores

    def __enter__(self):
        try:
            stack("up", "--with-nova", "--keepalive", "--processes", "1")
            about = json.loads((DIR / "stack.json").read_text())
            self.identity_url, self.image, self.compute = (
                about[name] for name in ("identity", "image", "compute")
            )
            self.pids = about["pids"]
            self.identity = web.Identity(self.identity_url)
            self.database = DIR / "db" / "glance.sqlite"
            self.projects = {}
            self.change("update images set visibility = 'private'")
            self.pin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        stack("down", "--wipe")

    def pin(self):
        """Nova is a competitor; Keystone and Glance are not, and stay off the competitors' core."""
        for name, pid in self.pids.items():
            process_stats.pin(process_stats.family(pid), self.server if name == "nova" else self.rest)

    def pin_to_server(self, name):
        """For a section in which a service is what is measured; `pin` takes it back."""
        process_stats.pin(process_stats.family(self.pids[name]), self.server)

    def nova_pids(self):
        return process_stats.family(self.pids["nova"])

    def token(self, project):
        """A token for that project, made with its one user when there is none."""
        if project not in self.projects:
            self.projects[project] = self.new_project(project)
        return self.identity.token(USER, project)

    def new_project(self, name):
        call = self.identity.call
        body = {"project": {"name": name, "domain_id": "default"}}
        project = call("POST", "/projects", body)["project"]["id"]
        users = call("GET", f"/users?name={USER}")["users"]
        if not users:
            body = {"user": {"name": USER, "password": PASSWORD, "domain_id": "default"}}
            users = [call("POST", "/users", body)["user"]]
        (role,) = call("GET", "/roles?name=member")["roles"]
        call("PUT", f"/projects/{project}/users/{users[0]['id']}/roles/{role['id']}")
        return project

    def add_images(self, project, count):
        """Gives a project active images of its own; returns their ids."""
        self.token(project)
        marks = [str(uuid.uuid5(uuid.UUID(int=0xBE7C), f"{project} {each}")) for each in range(count)]
        images, properties = [], []
        for number, image in enumerate(marks):
            made = "2024-02-01 %02d:%02d:%02d.000000" % (number // 3600, number // 60 % 60, number % 60)
            name, size, owner = f"image-{number:04d}", 2**20 + number, self.projects[project]
            images.append((image, name, size, made, made, owner, 512, number % 20))
            for key, value in (("os_distro", "ubuntu"), ("architecture", "x86_64"),
                               ("hw_disk_bus", "virtio"), ("build", str(number))):  # fmt: skip
                properties.append((image, key, value, made, made))
        with contextlib.closing(sqlite3.connect(self.database, timeout=60)) as connection:
            connection.executemany(content.BULK_IMAGE.replace("'public'", "'private'"), images)
            connection.executemany(content.BULK_PROPERTY, properties)
            connection.commit()
        return marks

    def add_queued(self, project):
        """An image that is coming into being, as a client that polls would meet it."""
        body = {"name": "queued", "disk_format": "raw", "container_format": "bare"}
        web.call("POST", f"{self.image}/v2/images", body, self.token(project))

    def only_bulk(self):
        """From now on there are 10,000 public images and no others, so an administrator sees as many."""
        for table in ("image_properties", "images"):
            self.change(f"delete from {table}")
        stack("seed", "--bulk", str(BULK))
        return self.identity.token("admin", "admin")

    def change(self, statement):
        with contextlib.closing(sqlite3.connect(self.database, timeout=60)) as connection:
            connection.execute(statement)
            connection.commit()
