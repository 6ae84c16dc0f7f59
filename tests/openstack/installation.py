"""The services' virtual environment, and databases already brought to their schema.

Both are made once, under `.cache/openstack`, and made again when the requirements, the Python or this
code change. A stamp written last says that one is complete; without it everything starts over.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import configs

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent.parent / ".cache" / "openstack"
VENV = CACHE / "venv"
TEMPLATE = CACHE / "template"
PASSWORD = "secret"

# The proxies of the machine, if it has any, are not for loopback.
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("OS_")},
    "no_proxy": "127.0.0.1,localhost",
    "NO_PROXY": "127.0.0.1,localhost",
    "LC_ALL": "C.UTF-8",
    "PYTHONUNBUFFERED": "1",
}


class InstallError(OSError):
    """A step of the installation failed; the message holds the end of its output."""


def ensure():
    """Returns the Python of a complete installation, making it first when there is none."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with locked(CACHE / "lock"):
        stamp = key("requirements.txt", "constraints.txt")
        if read(VENV / "complete") != stamp:
            install(stamp)
        stamp += key("installation.py", "configs.py")
        if read(TEMPLATE / "complete") != stamp:
            build_templates(stamp)
    return VENV / "bin" / "python"


def key(*files):
    digest = hashlib.sha256(f"{sys.version} {sys.executable} {CACHE}".encode())
    for name in files:
        digest.update((HERE / name).read_bytes())
    return digest.hexdigest()


def read(path):
    return path.read_text() if path.exists() else None


@contextlib.contextmanager
def locked(path):
    """Holds a lock that other processes see; the kernel drops it when this one ends."""
    with open(path, "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def run(*command, env=None):
    result = subprocess.run(
        [str(part) for part in command],
        env={**ENVIRONMENT, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode:
        tail = "\n".join(result.stdout.splitlines()[-25:])
        raise InstallError(f"{' '.join(map(str, command))} ended with {result.returncode}:\n{tail}")


def install(stamp):
    if sys.version_info < (3, 11):
        raise InstallError(f"the services need Python 3.11 or newer; this is {sys.version.split()[0]}")
    print("installing Keystone, Glance and Nova from PyPI, about a minute", file=sys.stderr)
    shutil.rmtree(VENV, ignore_errors=True)
    run(sys.executable, "-m", "venv", VENV)
    run(
        VENV / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check",
        "-r", HERE / "requirements.txt", "-c", HERE / "constraints.txt",
    )  # fmt: skip
    (VENV / "complete").write_text(stamp)


def build_templates(stamp):
    """Creates each service's databases: migrations take most of a first start, a copy takes none."""
    print("preparing empty databases", file=sys.stderr)
    shutil.rmtree(TEMPLATE, ignore_errors=True)
    TEMPLATE.mkdir()
    ports = {name: 1 for name in configs.SERVICES}
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        home = Path(scratch)
        (home / "db").mkdir()
        configs.write(home, ports, VENV, PASSWORD)
        configs.write_keys(home)
        keystone_databases(home)
        run(VENV / "bin" / "glance-manage", "--config-dir", home / "etc" / "glance", "db_sync")
        nova_databases(home)
        for path in (home / "db").glob("*.sqlite"):
            with contextlib.closing(sqlite3.connect(path)) as database:
                # Readers do not wait for the writer.
                database.execute("pragma journal_mode=wal")
            shutil.copy(path, TEMPLATE)
    (TEMPLATE / "complete").write_text(stamp)


def keystone_databases(home):
    manage = [VENV / "bin" / "keystone-manage", "--config-dir", home / "etc" / "keystone"]
    run(*manage, "db_sync")
    url = "http://127.0.0.1:1/v3"  # replaced at each start, see content.fill_identity
    run(
        *manage, "bootstrap", "--bootstrap-password", PASSWORD, "--bootstrap-username", "admin",
        "--bootstrap-project-name", "admin", "--bootstrap-role-name", "admin",
        "--bootstrap-service-name", "keystone", "--bootstrap-region-id", "RegionOne",
        "--bootstrap-admin-url", url, "--bootstrap-public-url", url, "--bootstrap-internal-url", url,
    )  # fmt: skip


def nova_databases(home):
    manage = [VENV / "bin" / "nova-manage", "--config-file", home / "etc" / "nova" / "nova.conf"]
    cell = "sqlite:///{}/db/nova_cell{}.sqlite"
    run(*manage, "api_db", "sync")
    run(*manage, "cell_v2", "map_cell0", "--database_connection", cell.format(home, 0))
    run(*manage, "db", "sync")
    run(
        *manage, "cell_v2", "create_cell", "--name", "cell1", "--transport-url", "fake:/",
        "--database_connection", cell.format(home, 1),
    )  # fmt: skip


def copy_template(home):
    """Gives a new stack its databases; Nova's map of cells names files, which have moved."""
    databases = home / "db"
    databases.mkdir()
    for path in TEMPLATE.glob("*.sqlite"):
        shutil.copy(path, databases)
    with contextlib.closing(sqlite3.connect(databases / "nova_api.sqlite")) as database:
        for cell in ("cell0", "cell1"):
            database.execute(
                "update cell_mappings set database_connection = ? where name = ?",
                (f"sqlite:///{databases}/nova_{cell}.sqlite", cell),
            )
        database.commit()
