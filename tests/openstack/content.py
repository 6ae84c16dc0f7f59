"""What a stack holds: projects, users, a catalog, and 17 images with fixed ids.

The recorded answers under tests/fixtures were taken from exactly this content: ids, names, owners and
the order of creation are part of them.
"""

import contextlib
import json
import sqlite3
import struct
import uuid
from pathlib import Path

from installation import PASSWORD
from web import call

# user → the project it works in
USERS = {
    "admin": "admin",
    "demo": "demo",
    "demo2": "demo",
    "reader": "demo",
    "alt": "alt",
    "nova": "service",
    "glance": "service",
}
ROLES = {
    "demo": ("member",),
    "demo2": ("member",),
    "reader": ("reader",),
    "alt": ("member",),
    "nova": ("service", "admin"),
    "glance": ("service", "admin"),
}


def fill_identity(identity, endpoints):
    """Makes what is missing in Keystone; returns the ids of users and projects."""

    def ensure(kind, name, **fields):
        found = identity.call("GET", f"/{kind}s?name={name}")[kind + "s"]
        if not found:
            found = [identity.call("POST", f"/{kind}s", {kind: {"name": name, **fields}})[kind]]
        return found[0]["id"]

    roles = {name: ensure("role", name) for name in ("member", "reader", "service")}
    roles["admin"] = ensure("role", "admin")
    domain = {"domain_id": "default"}
    names = ("admin", "demo", "alt", "service")
    projects = {name: ensure("project", name, **domain) for name in names}
    users = {name: ensure("user", name, password=PASSWORD, **domain) for name in USERS}
    for user, granted in ROLES.items():
        for role in granted:
            path = f"/projects/{projects[USERS[user]]}/users/{users[user]}/roles/{roles[role]}"
            identity.call("PUT", path)
    fill_catalog(identity, endpoints)
    return {
        "users": {name: {"id": users[name], "project": USERS[name]} for name in USERS},
        "projects": projects,
    }


def fill_catalog(identity, endpoints):
    services = {each["type"]: each["id"] for each in identity.call("GET", "/services")["services"]}
    present = {
        (each["service_id"], each["interface"]): each
        for each in identity.call("GET", "/endpoints")["endpoints"]
    }
    for (kind, name), url in endpoints.items():
        if kind not in services:
            body = {"service": {"name": name, "type": kind}}
            services[kind] = identity.call("POST", "/services", body)["service"]["id"]
        for interface in ("public", "internal", "admin"):
            known = present.get((services[kind], interface))
            if known is None:
                body = {
                    "service_id": services[kind],
                    "interface": interface,
                    "url": url,
                    "region_id": "RegionOne",
                }
                identity.call("POST", "/endpoints", {"endpoint": body})
            elif known["url"] != url:
                identity.call("PATCH", f"/endpoints/{known['id']}", {"endpoint": {"url": url}})


def seed_id(number):
    return "0000%04d-5eed-4000-8000-%012d" % (number, number)


def qcow2():
    """The smallest file Glance takes for a qcow2 disk: a version 3 header and empty tables."""
    header = struct.pack(
        ">4sIQIIQIIQQIIQ", b"QFI\xfb", 3, 0, 0, 16, 1 << 20, 0, 1, 0x30000, 0x10000, 1, 0, 0
    )
    header += struct.pack(">QQQII", 0, 0, 0, 4, 104)
    return header.ljust(0x40000, b"\0")


DATA = {None: None, "raw": bytes(range(256)) * 16, "qcow2": qcow2()}
SEEDS = Path(__file__).resolve().parent.parent / "fixtures" / "seed_images.json"

# (user, fields, data, what happens once it is uploaded), numbered from 1
IMAGES = [
    (seed["user"], seed["fields"], DATA[seed["data"]], seed["then"])
    for seed in json.loads(SEEDS.read_text(encoding="utf-8"))
]


def seed_images(identity, glance, ids):
    """Brings each image to its state, whatever of it is there already."""
    for number, (user, fields, data, then) in enumerate(IMAGES, start=1):
        image = f"{glance}/v2/images/{seed_id(number)}"
        token = identity.token(user, USERS[user])
        body = {**fields, "id": seed_id(number)}
        made, _, _ = call("POST", f"{glance}/v2/images", body, token, allow=(409,))
        status = "queued" if made == 201 else call("GET", image, None, token)[1]["status"]
        if data is not None and status == "queued":
            call("PUT", image + "/file", data, token, "application/octet-stream")
        if then == "deactivate":
            call("POST", image + "/actions/deactivate", None, identity.token("admin", "admin"))
        elif then is not None:
            member = ids["projects"]["alt" if then == "share with alt" else "demo"]
            call("POST", image + "/members", {"member": member}, token, allow=(409,))
            if then == "share with alt":
                accepted = {"status": "accepted"}
                call("PUT", f"{image}/members/{member}", accepted, identity.token("alt", "alt"))


BULK_IMAGE = (
    "insert into images(id, name, size, status, created_at, updated_at, disk_format,"
    " container_format, checksum, owner, min_ram, min_disk, visibility, deleted, protected, os_hidden)"
    " values(?, ?, ?, 'active', ?, ?, 'qcow2', 'bare', 'd41d8cd98f00b204e9800998ecf8427e', ?, ?, ?,"
    " 'public', 0, 0, 0)"
)
BULK_PROPERTY = (
    "insert into image_properties(image_id, name, value, created_at, updated_at, deleted)"
    " values(?, ?, ?, ?, ?, 0)"
)


def add_bulk(database, owner, count):
    """Writes public images straight into Glance's database until there are `count` of them."""
    images, properties = [], []
    with contextlib.closing(sqlite3.connect(database, timeout=60)) as connection:
        query = "select count(*) from images where name like 'bulk-%' and deleted = 0"
        (present,) = connection.execute(query).fetchone()
        for number in range(present, count):
            name = f"bulk-{number:06d}"
            image = str(uuid.uuid5(uuid.UUID(int=0xB01C), name))
            day, second = 1 + number // 86400 % 28, number % 86400
            clock = "%02d:%02d:%02d" % (second // 3600, second // 60 % 60, second % 60)
            made = f"2024-01-{day:02d} {clock}.000000"
            memory = 512 if number % 2 else 0
            images.append((image, name, 2**20 + number, made, made, owner, memory, number % 20))
            for key, value in (
                ("os_distro", "ubuntu"),
                ("architecture", "x86_64"),
                ("hw_disk_bus", "virtio"),
                ("build", str(number)),
            ):
                properties.append((image, key, value, made, made))
        connection.executemany(BULK_IMAGE, images)
        connection.executemany(BULK_PROPERTY, properties)
        connection.commit()
    return len(images)


def remove_bulk(database):
    """Removes what `add_bulk` wrote; returns how many images that were."""
    with contextlib.closing(sqlite3.connect(database, timeout=60)) as connection:
        bulk = "select id from images where name like 'bulk-%'"
        connection.execute(f"delete from image_properties where image_id in ({bulk})")
        gone = connection.execute("delete from images where name like 'bulk-%'").rowcount
        connection.commit()
    return gone
