#!/usr/bin/env python3
"""The licences of every crate in the binary, with their texts, on standard output.

Reads `cargo tree` for the machine this runs on, and the licence files of the crates' sources: it needs no
network once the project was built. A crate without a licence file is named with its licence alone.
"""

import json
import pathlib
import subprocess
import sys

NAMES = ("licen", "copying", "copyright", "notice", "unlicense")


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def shipped() -> list[dict]:
    """The packages that normal dependencies reach from the gateway; none of build scripts or tests."""
    tree = output("cargo", "tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}")
    names = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    metadata = json.loads(output("cargo", "metadata", "--locked", "--format-version", "1"))
    packages = (p for p in metadata["packages"] if p["source"] and (p["name"], f"v{p['version']}") in names)
    return sorted(packages, key=lambda package: (package["name"], package["version"]))


def texts(package: dict) -> list[str]:
    folder = pathlib.Path(package["manifest_path"]).parent
    files = [f for f in sorted(folder.iterdir()) if f.is_file() and f.name.lower().startswith(NAMES)]
    if package["license_file"]:
        files.append(folder / package["license_file"])
    files = dict.fromkeys(files)
    found = [file.read_text(encoding="utf-8", errors="replace").strip() for file in files]
    return [text for text in found if text]


def main() -> None:
    packages = shipped()
    users: dict[str, list[str]] = {}
    print("nova-image-proxy contains the following software.\n")
    for package in packages:
        name = f"{package['name']} {package['version']}"
        print(f"{name}: {package['license'] or 'see below'}")
        for text in texts(package):
            users.setdefault(text, []).append(name)
        if not texts(package):
            print(f"{name}: no licence file in its source", file=sys.stderr)
    for text, names in sorted(users.items(), key=lambda item: (-len(item[1]), item[1])):
        print("\n" + "-" * 80)
        print(", ".join(names) + "\n\n" + text)


if __name__ == "__main__":
    main()
