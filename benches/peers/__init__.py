"""The buses: one module each, imported only in the processes that speak it."""

from __future__ import annotations

import importlib
import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType


@dataclass(frozen=True)
class Peer:
    """What the runner knows about a bus without importing it."""

    name: str
    variants: Mapping[str, str]
    """Ways to use it, the first being the default, with the settings that make each its best."""
    packages: tuple[str, ...] = ()
    """Distributions of Python that it needs."""
    address: str = "{folder}/bus.sock"
    """Where its broker listens."""
    server: tuple[str, ...] = ()
    """The command line of a broker that is no Python; else the module's `serve` is the broker."""
    files: Mapping[str, str] = field(default_factory=dict)
    """What that broker reads from its folder."""

    def missing(self) -> str | None:
        """Why it cannot run on this machine."""
        for package in self.packages:
            try:
                importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                return f"the Python package {package} is not installed"
        if self.server and not find_program(self.server[0]):
            return f"the program {self.server[0]} is not installed"
        return None

    def version(self) -> str:
        """Of what it needs, as their makers number it."""
        versions = [f"{package} {importlib.metadata.version(package)}" for package in self.packages]
        if self.server and (program := find_program(self.server[0])):
            said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
            versions.append(said.strip().splitlines()[0] if said.strip() else self.server[0])
        return ", ".join(versions)

    def module(self) -> ModuleType:
        """The module that speaks it."""
        return importlib.import_module(f"benches.peers.{self.name}")


def find_program(name: str) -> str | None:
    """Beside this interpreter first, where `make bench` installs what it builds; then on the path."""
    beside = Path(sys.prefix) / "bin" / name
    return str(beside) if beside.exists() else shutil.which(name)


_NATS = """
max_payload: 8MB
max_pending: 1GB
write_deadline: "60s"
"""

PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "ours",
            {
                "await": '`await bus.publish` per event, `async for`; congestion="block", overflow="block"',
                "many": "`publish_many` and `get_many` of up to 256; block at both ends",
                "to_agent": "as await, with the broker in the subscriber's own process",
                "from_agent": "as await, with the broker in the publisher's own process",
            },
            ("daemoneye_eventbus",),
        ),
        Peer(
            "zenoh",
            {
                "callback": "router over unixsock-stream; declared publisher, congestion Block; a callback reads",
                "recv": "the same, read by blocking `recv()`",
            },
            ("eclipse-zenoh",),
            "unixsock-stream/{folder}/bus.sock",
        ),
        Peer(
            "nats",
            {
                "callback": "nats-server over TCP loopback, max_pending 1 GB; `await nc.publish`; `cb=`, unlimited",
                "iterator": "the same, read by `async for`",
            },
            ("nats-py",),
            "127.0.0.1:{port}",
            ("nats-server", "-a", "127.0.0.1", "-p", "{port}", "-c", "{folder}/nats.conf"),
            {"nats.conf": _NATS},
        ),
        Peer(
            "zmq",
            {
                "blocking": "XSUB/XPUB `zmq.proxy` over ipc; HWM 0; blocking send and recv",
                "asyncio": "the same with `zmq.asyncio`",
            },
            ("pyzmq",),
        ),
        Peer(
            "redis",
            {
                "pipeline": "redis-server over a Unix socket, hiredis, no output limit; pipelines of 100; `listen()`",
                "single": "the same, one `await publish` at a time",
            },
            ("redis", "hiredis"),
            "{folder}/bus.sock",
            ("redis-server", "{folder}/redis.conf"),
            {
                "redis.conf": 'port 0\nunixsocket {address}\nsave ""\nappendonly no\n'
                "client-output-buffer-limit pubsub 0 0 0\n"
            },
        ),
        Peer(
            "busrt",
            {"frames": "busrtd -w 2 --queue-size 1000000; busrt_async, QoS 0 (2 where latency counts); `on_frame`"},
            ("busrt-async",),
            "{folder}/bus.sock",
            ("busrtd", "-B", "{address}", "-w", "2", "--queue-size", "1000000"),
        ),
        Peer("core", {"frames": "our broker; blocking sockets at both ends move ready-made frames, 64 KB a write"}),
        Peer("queue", {"asyncio": "no bus: an `asyncio.Queue` of 1,000 within one process, events made as ours are"}),
        Peer(
            "floor",
            {"blocking": "no bus: a relay of bytes between blocking Unix sockets, three processes of Python"},
        ),
    )
}
