"""The services' configuration files: sqlite, no message bus, everything on loopback."""

import base64
import os
import shutil

SERVICES = {
    "keystone": "keystone.wsgi.api:application",
    "glance": "glance.wsgi.api:application",
    "nova": "nova.wsgi.osapi_compute:application",
    # Two more on the same database, which run only for tests that start them: another one, and one that
    # closes each connection without saying so.
    "glance2": "glance.wsgi.api:application",
    "glance-silent-close": "glance.wsgi.api:application",
}

EXTRA = ("glance2", "glance-silent-close")

COMMON = """\
[DEFAULT]
log_file = {home}/log/{name}.log
use_stderr = false
transport_url = fake:/
[oslo_messaging_notifications]
driver = noop
[oslo_concurrency]
lock_path = {home}/tmp
"""

# Each of Keystone's processes has a cache of its own: what one of them was told to revoke, the others
# would go on calling good.
KEYSTONE = """\
[database]
connection = sqlite:///{home}/db/keystone.sqlite
[token]
provider = fernet
expiration = 86400
caching = false
[revoke]
caching = false
[fernet_tokens]
key_repository = {home}/fernet-keys
[fernet_receipts]
key_repository = {home}/fernet-keys
[credential]
key_repository = {home}/credential-keys
[cache]
enabled = true
backend = dogpile.cache.memory
"""

# As deployments do: a service token without the service role is refused.
AUTHTOKEN = """\
[keystone_authtoken]
www_authenticate_uri = http://127.0.0.1:{ports[keystone]}
auth_url = http://127.0.0.1:{ports[keystone]}
auth_type = password
project_domain_name = Default
user_domain_name = Default
project_name = service
username = {name}
password = {password}
service_token_roles = service
service_token_roles_required = true
token_cache_time = 300
"""

# Without a service type no token that access rules limit is accepted.
GLANCE = """\
[keystone_authtoken]
service_type = image
[DEFAULT]
bind_host = 127.0.0.1
bind_port = {ports[glance]}
enabled_backends = fs:file
show_image_direct_url = false
show_multiple_locations = false
enabled_import_methods = []
node_staging_uri = file://{home}/staging
worker_self_reference_url = http://127.0.0.1:{ports[glance]}
image_cache_dir = {home}/tmp/image-cache
[database]
connection = sqlite:///{home}/db/glance.sqlite
[glance_store]
default_backend = fs
[fs]
filesystem_store_datadir = {home}/images
[os_glance_staging_store]
filesystem_store_datadir = {home}/staging
[os_glance_tasks_store]
filesystem_store_datadir = {home}/tmp
[paste_deploy]
flavor = keystone
config_file = {home}/etc/glance/glance-api-paste.ini
"""

NOVA = """\
[keystone_authtoken]
service_type = compute
[DEFAULT]
state_path = {home}/tmp
host = localhost
enabled_apis = osapi_compute
[api]
auth_strategy = keystone
[wsgi]
api_paste_config = {home}/etc/nova/api-paste.ini
[api_database]
connection = sqlite:///{home}/db/nova_api.sqlite
[database]
connection = sqlite:///{home}/db/nova_cell1.sqlite
[glance]
service_type = image
region_name = RegionOne
valid_interfaces = public
num_retries = 3
[cache]
enabled = false
"""

FOLDERS = ("etc/keystone", "etc/glance", "etc/nova", "log", "images", "staging", "tmp")
FILES = {
    "keystone": ("keystone.conf", COMMON + KEYSTONE),
    "glance": ("glance-api.conf", COMMON + AUTHTOKEN + GLANCE),
    "nova": ("nova.conf", COMMON + AUTHTOKEN + NOVA),
}


def write(home, ports, venv, password):
    """Writes every service's files under `home`; oslo.config merges sections that come twice."""
    for folder in FOLDERS:
        (home / folder).mkdir(parents=True, exist_ok=True)
    for name, (file, text) in FILES.items():
        text = text.format(home=home, name=name, ports=ports, password=password)
        (home / "etc" / name / file).write_text(text)
    for name, file in (("glance", "glance-api-paste.ini"), ("nova", "api-paste.ini")):
        shutil.copy(venv / "etc" / name / file, home / "etc" / name)


def write_keys(home):
    """Keys for tokens and credentials: 32 random bytes each, `0` staged and `1` in use."""
    for folder in ("fernet-keys", "credential-keys"):
        (home / folder).mkdir(mode=0o700)
        for number in "01":
            key = base64.urlsafe_b64encode(os.urandom(32))
            (home / folder / number).write_bytes(key)


def environment(home):
    """What the services read from their environment."""
    return {
        "OS_KEYSTONE_CONFIG_DIR": f"{home}/etc/keystone",
        "OS_GLANCE_CONFIG_DIR": f"{home}/etc/glance",
        "OS_NOVA_CONFIG_DIR": f"{home}/etc/nova",
        "OS_NOVA_DISABLE_EVENTLET_PATCHING": "true",
    }
