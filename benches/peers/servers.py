"""The servers: how each is started in its best honest configuration, and how the generator talks to it.

Each has one thread or process for clients, no TLS, no compression, buffers that lose nothing, and an accept queue of 4096
where it can be set. What they do per client, such as heartbeats, they do as they come.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import install
from install import HERE, LIBRARIES, Missing, call

NODE_TOKEN = "omnicast-peers-bench"
START_S = 20


@dataclass
class Place:
    """Where one start of a server lives."""

    directory: Path
    port: int
    other_port: int


@dataclass
class Server:
    """One row of the tables."""

    label: str
    # Returns the version in words, or raises Missing.
    version: Callable[[], str]
    # The command line.
    command: Callable[[Place], list]
    # What is particular about its configuration, for the documentation.
    notes: str
    environment: dict = field(default_factory=dict)
    # Arguments of the generator, for subscribers and for one publisher.
    arguments: Callable[[Place], list] = lambda place: ["--publish-path", "/publish"]
    # Ways in whose price is measured, each with further arguments of the generator.
    ways: dict = field(default_factory=lambda: {"WebSocket, 256 on their way": []})
    # Whether a client has to say something after the upgrade.
    handshake: bool = False


def template(name, place, **values):
    """A configuration file with its @WORDS@ filled in."""
    text = (HERE / "servers" / name).read_text()
    for key, value in {"DIR": place.directory, "PORT": place.port, **values}.items():
        text = text.replace(f"@{key}@", str(value))
    path = place.directory / name
    path.write_text(text)
    return path


def nodejs(script, *arguments):
    return lambda place: ["node", HERE / "servers" / script, place.port, *arguments]


def npm_version(name):
    def version():
        package = json.loads((install.npm() / name / "package.json").read_text())
        return f"{package['version']} on Node.js {call(['node', '--version']).lstrip('v')}"

    return version


def nchan(place):
    root = install.debian("nchan")
    path = template("nchan.conf", place, MODULES=root / "usr/lib/nginx/modules")
    return [root / "usr/sbin/nginx", "-p", place.directory, "-c", path, "-e", place.directory / "error.log"]


def nchan_version():
    install.debian("nchan")
    return f"{install.debian_version('libnginx-mod-nchan')} in nginx {install.debian_version('nginx')}"


def nats(place):
    return [install.debian("nats") / "usr/sbin/nats-server", "-c", template("nats.conf", place)]


def nats_version():
    install.debian("nats")
    return install.debian_version("nats-server")


def sockudo(place):
    limits = {"max_connections": 100000, "max_client_events_per_second": 100000}
    app = {"id": "bench", "key": "bench-key", "secret": "bench-secret", "enabled": True, "policy": {"limits": limits}}
    options = {
        "host": "127.0.0.1",
        "port": place.port,
        "app_manager": {"driver": "memory", "array": {"apps": [app]}},
        "adapter": {"driver": "local"},
        "metrics": {"enabled": False},
        "rate_limiter": {"enabled": False},
        # Room for more messages is taken for each client at once: 65,536 of them are 7 MB.
        "websocket": {"max_messages": 1000, "disconnect_on_buffer_full": False},
    }
    path = place.directory / "sockudo.json"
    path.write_text(json.dumps(options))
    return [install.sockudo(), "--config", path]


def locked(crate, *names):
    """Versions of dependencies from a lock file."""
    lines = (HERE / crate / "Cargo.lock").read_text().splitlines()
    version = {lines[i].split('"')[1]: lines[i + 1].split('"')[1] for i in range(len(lines)) if lines[i].startswith("name = ")}
    return ", ".join(f"{name} {version[name]}" for name in names)


def node_version():
    commit = call(["git", "-C", HERE, "describe", "--always", "--dirty"])
    return f"{call([install.node(), '--version']).split()[-1]} ({commit})"


def node_arguments(place):
    control = ["--publish-address", f"127.0.0.1:{place.other_port}"]
    return ["--tongue", "omnicast", "--path", "/api/ws", "--publish", "node", "--depth", 64, *control]


NODE_WAYS = {
    "HTTP POST, 8 keep-alive connections": ["--links", 8, "--depth", 1],
    "HTTP POST, 8 keep-alive connections, 32 pipelined on each": ["--links", 8, "--depth", 32],
    "HTTP POST of lines, up to 256 events each": ["--publish", "node-lines", "--links", 1, "--depth", 2],
}


def node(shards=1, window_ms=0):
    special = (f", {shards} shards" if shards > 1 else "") + (f", window of {window_ms} ms" if window_ms else "")
    return Server(
        label="Omnicast" + special,
        version=node_version,
        command=lambda place: [install.node()],
        notes="rights, validation and heartbeats on; posts over HTTP to the control listener on TCP with its token",
        environment={
            "WS_PORT": "@PORT@",
            "WS_SHARDS": str(shards),
            "WS_BATCH_WINDOW": str(window_ms),
            "WS_LOG": "error",
            "WS_MAX_CONNECTIONS": "20000",
            "WS_CONTROL_SOCKET": "@DIR@/control.sock",
            "WS_CONTROL_ADDR": "127.0.0.1:@OTHER_PORT@",
            "WS_CONTROL_TOKEN": NODE_TOKEN,
        },
        arguments=node_arguments,
        ways={} if special else NODE_WAYS,
        handshake=True,
    )


def floor(*mode):
    return Server(
        label="floor, gathering" if mode else "floor",
        version=lambda: "this repository",
        command=lambda place: [install.generator(), "floor", place.port, *mode],
        notes="all frames that have arrived as one write for each socket" if mode else "one bare write of one frame for each socket",
    )


PRODUCTION = {"NODE_ENV": "production"}

SERVERS = {
    "floor": floor(),
    "floor-gather": floor("gather"),
    "node": node(),
    "node2": node(shards=2),
    "node-window": node(window_ms=100),
    "bun": Server(
        label="Bun",
        version=lambda: call([install.bun(), "--version"]),
        command=lambda place: [install.bun(), HERE / "servers" / "bun.js", place.port],
        notes="`Bun.serve`, `subscribe` and `server.publish`, perMessageDeflate off",
        environment=PRODUCTION,
    ),
    "uws": Server(
        label="uWebSockets (socketify)",
        version=lambda: f"socketify {install.SOCKETIFY}" + (install.socketify() and f", libuv {install.debian_version('libuv1')}"),
        command=lambda place: [install.socketify(), HERE / "servers" / "uwebsockets.py", place.port],
        notes="`app.publish`, compression off, idle timeout 960 s, backpressure up to 64 MiB",
        environment={"LD_LIBRARY_PATH": str(LIBRARIES)},
    ),
    "nchan": Server(
        label="nginx + nchan",
        version=nchan_version,
        command=nchan,
        notes="1 worker, 512 MiB of shared memory, 300 messages kept, access log off; published over its WebSocket",
        arguments=lambda place: ["--path", "/subscribe", "--publish-path", "/publish"],
    ),
    "ws-framed": Server(
        label="ws, frame made once",
        version=npm_version("ws"),
        command=nodejs("ws.js", "framed"),
        notes="`Sender.frame` once, then a write to each socket beneath; perMessageDeflate off",
        environment=PRODUCTION,
    ),
    "ws": Server(
        label="ws",
        version=npm_version("ws"),
        command=nodejs("ws.js"),
        notes="a loop of `send`; perMessageDeflate and clientTracking off",
        environment=PRODUCTION,
    ),
    "socketio": Server(
        label="Socket.IO",
        version=npm_version("socket.io"),
        command=nodejs("socketio.js"),
        notes="one room; clients come by WebSocket at once, without the polling that its own client begins with",
        environment=PRODUCTION,
        arguments=lambda place: ["--tongue", "socketio", "--path", "/socket.io/?EIO=4&transport=websocket"],
        handshake=True,
    ),
    "nats": Server(
        label="nats-server",
        version=nats_version,
        command=nats,
        notes="its WebSocket listener, GOMAXPROCS=1, pending up to 128 MiB a client",
        environment={"GOMAXPROCS": "1"},
        arguments=lambda place: ["--tongue", "nats"],
        handshake=True,
    ),
    "sockudo": Server(
        label="Sockudo",
        version=lambda: call([install.sockudo(), "--version"]).split()[-1],
        command=sockudo,
        notes="local adapter, 1 worker thread, metrics and rate limits off, its default of 1,000 messages of buffer a client; signed HTTP posts, 8 at a time",
        environment={"TOKIO_WORKER_THREADS": "1", "RUST_LOG": "off"},
        arguments=lambda place: ["--tongue", "pusher", "--path", "/app/bench-key?protocol=7", "--publish", "pusher", "--links", 8],
        ways={"signed HTTP POST, 8 connections": []},
        handshake=True,
    ),
    "axum": Server(
        label="axum + tokio broadcast",
        version=lambda: locked("axum", "axum", "tokio", "tungstenite"),
        command=lambda place: [install.axum(), place.port],
        notes="a task for each connection, `broadcast::channel(4096)`, 1 worker thread, TCP_NODELAY, LTO",
        environment={"TOKIO_WORKER_THREADS": "1"},
    ),
}

DEFAULT = ["node", "bun", "uws", "nchan", "ws-framed", "ws", "socketio", "nats", "sockudo", "axum", "floor-gather"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Running:
    """A server that runs as long as the `with` block."""

    def __init__(self, server):
        self.server = server

    def __enter__(self):
        self.place = Place(Path(tempfile.mkdtemp(prefix="omnicast-peer-")), free_port(), free_port())
        # nginx started by root gives its worker to another user.
        self.place.directory.chmod(0o755)
        words = {"@PORT@": self.place.port, "@OTHER_PORT@": self.place.other_port, "@DIR@": self.place.directory}
        environment = dict(os.environ)
        for key, value in self.server.environment.items():
            for word, meaning in words.items():
                value = value.replace(word, str(meaning))
            environment[key] = value
        environment["NODE_PATH"] = str(install.CACHE / "npm" / "node_modules")
        self.log = open(self.place.directory / "log", "w+")
        command = [str(part) for part in self.server.command(self.place)]
        # A session of its own: its process group has exactly the processes that it starts.
        self.process = subprocess.Popen(
            command,
            cwd=self.place.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        try:
            self.wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def wait(self):
        """Until it accepts connections."""
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise Missing(f"it ended with {self.process.returncode}: {self.last_words()}")
            try:
                socket.create_connection(("127.0.0.1", self.place.port), 1).close()
                time.sleep(0.5)
                return
            except OSError:
                time.sleep(0.05)
        raise Missing(f"it did not listen within {START_S} s: {self.last_words()}")

    def last_words(self):
        self.log.flush()
        return " / ".join((self.place.directory / "log").read_text(errors="replace").strip().splitlines()[-4:])

    def __exit__(self, *_):
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self.process.wait(10)
        self.signal(signal.SIGKILL)  # Workers that outlived it.
        self.log.close()
        shutil.rmtree(self.place.directory, ignore_errors=True)

    def signal(self, number):
        """Signals the process and what it started."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass
