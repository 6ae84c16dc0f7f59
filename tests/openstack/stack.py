#!/usr/bin/env python3
"""Real Keystone, Glance and Nova on loopback, for tests and for trying the gateway by hand.

    stack.py install                    install the services from PyPI (once; about a minute)
    stack.py up [--with-nova]           start them, fill them, print and write DIR/stack.json
    stack.py stop glance                take one service away, for outage tests; `start glance` returns it
    stack.py start glance2              a second Glance on the same database; `kill glance2` as by kill -9
    stack.py start glance-silent-close  one more, in uWSGI's http-socket mode without "Connection: close"
    stack.py hints                      how to talk to them, and to a gateway in front of them
    stack.py token demo                 a token for a user (--project NAME, --unscoped)
    stack.py seed --bulk 10000          that many public images more; `--unbulk` removes them
    stack.py down [--wipe]              stop everything; --wipe also forgets the state

Every command takes --dir DIR (default .cache/openstack/run); stacks in different folders run side by
side. `up` can always be repeated: it keeps what is healthy and starts what is not.
"""

import argparse
import contextlib
import json
import sys
from pathlib import Path

import content
import installation
import services
from web import Identity


def up(args):
    python = installation.ensure()
    stack = services.Stack(args.dir)
    with stack.lock():
        wanted = ["keystone", "glance"] + (["nova"] if args.with_nova else [])
        stack.start(wanted, python, processes=args.processes, keepalive=args.keepalive)
        identity = Identity(stack.url("keystone") + "/v3")
        projects = content.fill_identity(identity, stack.endpoints())
        content.seed_images(identity, stack.url("glance"), projects)
        stack.describe(projects)
        stack.note_pids()
    print(json.dumps(stack.description(), indent=2))


def down(args):
    stack = services.Stack(args.dir)
    with stack.lock():
        for name in stack.running():
            print(f"stopped {name} ({stack.stop(name)})")
        if args.wipe:
            stack.wipe()
            print(f"removed {args.dir}")


def stop(args):
    stack = services.Stack(args.dir)
    with stack.lock():
        pid = stack.stop(args.service)
    print(f"stopped {args.service} ({pid})" if pid else f"{args.service} was not running")


def kill(args):
    stack = services.Stack(args.dir)
    with stack.lock():
        pid = stack.kill(args.service)
    print(f"killed {args.service} ({pid})" if pid else f"{args.service} was not running")


def start(args):
    stack = services.Stack(args.dir)
    with stack.lock():
        stack.restart(args.service, installation.ensure())
    print(f"{args.service} answers at {stack.url(args.service)}")


def seed(args):
    database = Path(args.dir) / "db" / "glance.sqlite"
    if args.unbulk:
        print(f"removed {content.remove_bulk(database)} images")
    else:
        description = services.Stack(args.dir).description()
        owner = description["projects"]["admin"]
        print(f"added {content.add_bulk(database, owner, args.bulk)} images")


def token(args):
    stack = services.Stack(args.dir)
    project = None if args.unscoped else args.project or content.USERS[args.user]
    print(Identity(stack.url("keystone") + "/v3").token(args.user, project))


HINTS = """\
Keystone {identity}
Glance   {image}
users    {users} (password {password}, domain Default, region {region})

The gateway in front of this Glance, and its answer:
  NOVA_IMAGE_PROXY__SERVER__LISTEN=127.0.0.1:8774 \\
  NOVA_IMAGE_PROXY__AUTH__MODE=keystone \\
  NOVA_IMAGE_PROXY__KEYSTONE__AUTH_URL={identity} \\
  NOVA_IMAGE_PROXY__KEYSTONE__WWW_AUTHENTICATE_URI={identity_public} \\
  NOVA_IMAGE_PROXY__GLANCE__ENDPOINTS={image} \\
  cargo run --release
  token=$(python3 tests/openstack/stack.py token demo --dir {dir})
  curl -s -H "X-Auth-Token: $token" http://127.0.0.1:8774/v2.1/images
"""
NOVA_HINTS = """
Nova's own answer to the same:
  curl -s -H "X-Auth-Token: $token" {compute}/v2.1/images
"""


def hints(args):
    about = services.Stack(args.dir).description()
    users = (name for name, user in about["users"].items() if user["project"] != "service")
    print(HINTS.format(**{**about, "users": ", ".join(users)}), end="")
    if about["compute"]:
        print(NOVA_HINTS.format(**about), end="")


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name, run):
        sub = commands.add_parser(name)
        sub.set_defaults(run=run)
        sub.add_argument("--dir", type=lambda text: Path(text).resolve(), default=services.DEFAULT_DIR)
        return sub

    command("install", lambda _: print(installation.ensure().parent.parent))
    sub = command("up", up)
    sub.add_argument("--with-nova", action="store_true", help="start Nova's own API as well")
    sub.add_argument("--keepalive", action="store_true", help="let clients keep connections open")
    sub.add_argument("--processes", type=int, default=2, help="worker processes per service")
    command("hints", hints)
    command("down", down).add_argument("--wipe", action="store_true", help="delete DIR as well")
    for name, run in (("stop", stop), ("kill", kill), ("start", start)):
        command(name, run).add_argument("service", choices=services.NAMES)
    bulk = command("seed", seed).add_mutually_exclusive_group(required=True)
    bulk.add_argument("--bulk", type=int, metavar="N", help="have N public images more")
    bulk.add_argument("--unbulk", action="store_true", help="remove those again")
    sub = command("token", token)
    sub.add_argument("user", choices=content.USERS)
    scope = sub.add_mutually_exclusive_group()
    scope.add_argument("--project", help="another project than the user's usual one")
    scope.add_argument("--unscoped", action="store_true", help="a token without a project")
    return parser.parse_args(argv)


def main():
    args = parse(sys.argv[1:])
    try:
        args.run(args)
    except (services.StackError, OSError) as error:
        sys.exit(f"stack.py {args.command}: {error}")
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()


if __name__ == "__main__":
    main()
