"""nginx with `proxy_cache` in front of Nova: what one could have had without the gateway.

It gives a kept answer to whoever sends the same token, asks nobody whether that token is still good, and
hears of no write. Everything that costs it time is off, so what is compared is a plain hit.
"""

import os
import pwd
import shutil
import socket
import subprocess
import time

import load_client
import process_stats

CONFIGURATION = """\
user {user};
worker_processes 1;
daemon off;
pid {home}/nginx.pid;
error_log {home}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 75s;
    keepalive_requests 1000000000;
    open_file_cache max=1000 inactive=1h;
    open_file_cache_valid 1h;
    client_body_temp_path {home}/body;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    proxy_temp_path {home}/proxy;
    proxy_cache_path {home}/cache keys_zone=answers:8m inactive=1h use_temp_path=off;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {compute};
            proxy_set_header Host $http_host;
            proxy_cache answers;
            proxy_cache_key $http_x_auth_token$http_x_openstack_nova_api_version$request_uri;
            proxy_cache_valid 200 1h;
            proxy_ignore_headers Vary Cache-Control Expires;
            add_header Cache-Status "nginx; $upstream_cache_status";
        }}
    }}
}}
"""


def program():
    """Debian has it where only root looks."""
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


class Nginx:
    """One worker on one core; ended when the block is left."""

    def __init__(self, home, core, compute):
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        user = pwd.getpwuid(os.getuid()).pw_name
        text = CONFIGURATION.format(home=home, port=port, compute=compute, user=user)
        (home / "nginx.conf").write_text(text)
        self.home, self.url = home, f"http://127.0.0.1:{port}"
        command = ["taskset", "-c", str(core), program(), "-p", home, "-c", home / "nginx.conf"]
        self.process = subprocess.Popen(
            [*map(str, command), "-e", str(home / "error.log")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.process.kill()
                    raise SystemExit(f"bench: nginx does not start:\n{self.log()}") from None
                time.sleep(0.05)

    def log(self):
        path = self.home / "error.log"
        return path.read_text() if path.exists() else "it left no log"

    def pids(self):
        return process_stats.family(self.process.pid)

    def check_hit(self, path, token):
        """Fills the cache, and makes sure that it gives what it holds; returns how long that is."""
        load_client.ask(self.url, path, token)
        answer, body = load_client.ask(self.url, path, token)
        status = answer.getheader("Cache-Status")
        if status != "nginx; HIT":
            raise SystemExit(f"bench: nginx says {status!r} where it must say HIT:\n{self.log()}")
        return len(body)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)
