"""What a stack holds: projects, users, a catalog, and 17 images with fixed ids.

The recorded answers under tests/fixtures were taken from exactly this content: ids, names, owners and
the order of creation are part of them.
"""

import contextlib
import json
import sqlite3
import struct
import uuid

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


RAW = bytes(range(256)) * 16
DEVICES = json.dumps(
    [
        {
            "device_name": "/dev/vda",
            "boot_index": 0,
            "source_type": "snapshot",
            "destination_type": "volume",
            "snapshot_id": "11111111-2222-4333-8444-555555555555",
            "volume_size": 1,
            "delete_on_termination": False,
            "image_id": None,
        }
    ]
)
MAPPINGS = json.dumps(
    [{"virtual": "ami", "device": "vda"}, {"virtual": "root", "device": "/dev/vda"}]
)
BARE = {"container_format": "bare", "disk_format": "raw"}

# (user, fields, data, what happens once it is uploaded), numbered from 1
IMAGES = [
    (
        "admin",
        {
            **BARE,
            "name": "pub-cirros",
            "disk_format": "qcow2",
            "visibility": "public",
            "min_ram": 64,
            "min_disk": 1,
            "os_distro": "cirros",
            "os_type": "linux",
            "architecture": "x86_64",
            "hw_disk_bus": "virtio",
        },
        qcow2(),
        None,
    ),
    (
        "admin",
        {**BARE, "name": "pub-protected", "visibility": "public", "protected": True, "min_ram": 512},
        RAW,
        None,
    ),
    ("admin", {**BARE, "name": "pub-hidden", "visibility": "public", "os_hidden": True}, RAW, None),
    ("admin", {**BARE, "name": "pub-deactivated", "visibility": "public"}, RAW, "deactivate"),
    (
        "admin",
        {
            **BARE,
            "name": "pub-tagged",
            "visibility": "public",
            "tags": ["lts", "ubuntu", "tag with space"],
            "foo": "bar",
        },
        RAW,
        None,
    ),
    (
        "demo",
        {
            "name": "demo-ami",
            "container_format": "ami",
            "disk_format": "ami",
            "visibility": "private",
            "kernel_id": "aaaaaaaa-0000-4000-8000-000000000001",
            "ramdisk_id": "aaaaaaaa-0000-4000-8000-000000000002",
            "foo": "bar",
            "min_disk": 10,
        },
        RAW,
        None,
    ),
    (
        "demo",
        {
            **BARE,
            "name": "demo-snap-auto",
            "visibility": "private",
            "instance_uuid": "8c5ff1b3-7f39-4a05-a5d0-3b1b6a4c1a01",
            "image_type": "snapshot",
            "auto_disk_config": "True",
            "os_require_quiesce": "yes",
            "base_image_ref": seed_id(1),
            "user_id": "demo-user",
            "owner_id": "demo-project",
            "image_location": "snapshot",
            "image_state": "available",
            "block_device_mapping": DEVICES,
            "bdm_v2": "True",
            "root_device_name": "/dev/vda",
        },
        RAW,
        None,
    ),
    (
        "demo",
        {
            **BARE,
            "name": "demo-snap-manual",
            "visibility": "private",
            "instance_uuid": "8c5ff1b3-7f39-4a05-a5d0-3b1b6a4c1a02",
            "image_type": "snapshot",
            "auto_disk_config": "Disabled",
            "mappings": MAPPINGS,
            "min_ram": 256,
            "min_disk": 2,
        },
        RAW,
        None,
    ),
    ("demo", {**BARE, "name": "demo-queued", "visibility": "private"}, None, None),
    ("demo", {**BARE, "name": "demo-shared", "visibility": "shared"}, RAW, "share with alt"),
    ("demo", {**BARE, "name": "demo-community", "visibility": "community", "foo": "baz"}, RAW, None),
    (
        "demo",
        {
            **BARE,
            "name": "demo-ünïcödé-映像",
            "visibility": "private",
            "description": 'naïve 映像 "q" \\ <b>&',
            "key with spaces": "v 1",
            "ns:key": "v:2",
            "dotted.key": "v.3",
            "Upper": "Case",
            "empty": "",
        },
        RAW,
        None,
    ),
    ("demo", {**BARE, "name": "demo-protected", "visibility": "private", "protected": True}, RAW, None),
    ("demo", {"visibility": "private"}, None, None),
    ("alt", {**BARE, "name": "alt-private", "visibility": "private"}, RAW, None),
    ("alt", {**BARE, "name": "alt-shared-pending", "visibility": "shared"}, RAW, "offer to demo"),
    ("alt", {**BARE, "name": "alt-community", "visibility": "community"}, RAW, None),
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
