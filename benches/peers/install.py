"""Fetches and builds peers from package registries into target/peers. Nothing is installed outside of it."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = ROOT / "target" / "peers"
DEBIAN = CACHE / "debian" / "root"
LIBRARIES = DEBIAN / "usr/lib/x86_64-linux-gnu"

NPM = {"bun": "1.4.5", "ws": "8.23.0", "socket.io": "4.8.4"}
SOCKETIFY = "0.0.31"
SOCKUDO = "5.2.0"
# What Debian has is taken as it is; `versions` in the results says what it was.
PACKAGES = {
    "nchan": ["nginx", "libnginx-mod-nchan"],
    "nats": ["nats-server"],
    "libuv": ["libuv1"],
    # Sockudo's build wants it.
    "protoc": ["protobuf-compiler", "libprotoc32", "libprotobuf32", "libprotobuf-dev"],
}


class Missing(Exception):
    """A peer that is not to be had, and why."""


def call(command, **options):
    """Runs a command to its end; raises `Missing` with its last words when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, **options)
    except OSError as error:
        raise Missing(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        marks = ("err", "panicked", "fail", "no such", "non-existent")
        telling = [line.strip() for line in lines if any(mark in line.lower() for mark in marks)] or lines
        raise Missing(f"`{' '.join(map(str, command))}` failed: {' / '.join(telling[:5])}")
    return (done.stdout + done.stderr).strip()


def cargo(package, *arguments):
    """Builds a package of this directory; returns the directory of its programs."""
    target = CACHE / "build" / package
    manifest = HERE / package / "Cargo.toml"
    call(["cargo", "build", "--release", "--locked", "--manifest-path", manifest, "--target-dir", target, *arguments])
    return target / "release"


@cache
def generator():
    """The program that drives all servers, and is the floor."""
    return cargo("generator") / "peers-generator"


@cache
def node():
    """The node of this checkout."""
    call(["cargo", "build", "--release", "--locked", "--manifest-path", ROOT / "Cargo.toml"])
    return ROOT / "target" / "release" / "omnicast"


@cache
def axum():
    """The broadcast server written the usual way."""
    return cargo("axum") / "peers-axum"


@cache
def npm():
    """All npm peers at once; returns their `node_modules`."""
    directory = CACHE / "npm"
    modules = directory / "node_modules"
    wanted = [f"{name}@{version}" for name, version in NPM.items()]
    stamp = directory / "installed"
    if not stamp.exists() or stamp.read_text().split() != wanted:
        directory.mkdir(parents=True, exist_ok=True)
        # Bun's binary is a package of its own: no script has to run.
        call(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *wanted], cwd=directory)
        stamp.write_text("\n".join(wanted))
    return modules


@cache
def bun():
    """The binary that suits this processor."""
    binaries = sorted((npm() / "@oven").glob("bun-linux-*/bin/bun"))
    for binary in binaries:
        try:
            call([binary, "--version"])
            return binary
        except Missing:
            continue
    raise Missing("npm has no Bun for this machine")


@cache
def debian(what):
    """Unpacks packages of Debian; returns the root that they lie in."""
    for name in PACKAGES[what]:
        stamp = CACHE / "debian" / f"{name}.version"
        if stamp.exists():
            continue
        if not shutil.which("apt-get"):
            raise Missing("not a Debian system: no apt-get")
        directory = CACHE / "debian"
        directory.mkdir(parents=True, exist_ok=True)
        try:
            call(["apt-get", "download", name], cwd=directory)
        except Missing:
            call(["apt-get", "update"])
            call(["apt-get", "download", name], cwd=directory)
        archive = max(directory.glob(f"{name}_*.deb"), key=lambda path: path.stat().st_mtime)
        call(["dpkg", "-x", archive, DEBIAN])
        stamp.write_text(call(["dpkg-deb", "-f", archive, "Version"]))
    return DEBIAN


def debian_version(package):
    """What was unpacked."""
    return (CACHE / "debian" / f"{package}.version").read_text().strip()


@cache
def socketify():
    """A Python of its own with socketify, and the library that it needs; returns the interpreter."""
    debian("libuv")
    python = CACHE / "python" / "bin" / "python"
    stamp = CACHE / "python" / "installed"
    if not stamp.exists() or stamp.read_text() != SOCKETIFY:
        call(["python3", "-m", "venv", CACHE / "python"])
        call([python, "-m", "pip", "install", "--quiet", f"socketify=={SOCKETIFY}"])
        stamp.write_text(SOCKETIFY)
    return python


@cache
def sockudo():
    """Built as anybody would: `cargo install`, which takes half an hour of two cores."""
    program = CACHE / "cargo" / "bin" / "sockudo"
    if not program.exists() or SOCKUDO not in call([program, "--version"]):
        root = debian("protoc")
        protoc = {"PROTOC": str(root / "usr/bin/protoc"), "PROTOC_INCLUDE": str(root / "usr/include")}
        environment = {**os.environ, **protoc, "LD_LIBRARY_PATH": str(LIBRARIES)}
        place = ["--root", CACHE / "cargo", "--target-dir", CACHE / "build" / "sockudo"]
        call(["cargo", "install", "sockudo", "--version", SOCKUDO, "--locked", *place], env=environment)
    return program
