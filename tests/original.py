"""The Rust original's two ends, as the captures in `vectors` show them: plain blocking sockets.

Its client and its broker read alike: one `read` for the length and one for the body, and a part is an error to them.
"""

from __future__ import annotations

import functools
import json
import socket
import struct
import time
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).resolve().parent / "vectors"
DIALECTS = ("bincode", "postcard")
CHECK = 30.0
TICK = 0.01


@functools.cache
def captures(dialect: str) -> dict[str, list[dict[str, Any]]]:
    """The records of each scenario."""
    scenarios = json.loads((VECTORS / f"captures-{dialect}.json").read_text())["scenarios"]
    return {scenario["name"]: scenario["records"] for scenario in scenarios}


def captured(dialect: str, scenario: str, direction: str = "original->peer") -> list[dict[str, Any]]:
    """The frames of one scenario that went this way."""
    records = captures(dialect)[scenario]
    return [record for record in records if record["kind"] == "frame" and record["direction"] == direction]


def whole(record: dict[str, Any]) -> bytes:
    return bytes.fromhex(record["hex"])


class Peer:
    """One connection as the original reads it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(10)

    def send(self, body: bytes) -> None:
        # In practice it writes twice.
        self.sock.sendall(struct.pack("<I", len(body)))
        self.sock.sendall(body)

    def read(self, timeout: float) -> bytes | None:
        """The next frame, or None if there is none in time; a frame in parts is a failure."""
        self.sock.settimeout(timeout)
        try:
            prefix = self.sock.recv(4)
        except TimeoutError:
            return None
        assert prefix, "closed"
        assert len(prefix) == 4, "the length came in parts"
        (size,) = struct.unpack("<I", prefix)
        body = self.sock.recv(size) if size else b""
        assert len(body) == size, "the body came in parts"
        return body

    def first(self) -> bytes | None:
        """The first message. Before it stands a PONG, by which our broker sees whether the peer reads at all."""
        assert self.read(5.0) == b"PONG"
        return self.read(5.0)

    def check(self, patience: float = 5.0) -> bytes | None:
        """Its health check: PING, and whatever comes next is taken for the answer."""
        self.send(b"PING")
        return self.read(patience)

    def closed(self) -> bool:
        self.sock.settimeout(10)
        try:
            return self.sock.recv(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.sock.close()


class OriginalClient(Peer):
    """Reads at most a hundred frames a second, and checks every 30 s."""

    def __init__(self, path: str) -> None:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        super().__init__(sock)
        self.due = time.monotonic() + CHECK
        self.got: list[bytes] = []
        self.checks = 0

    def live(self, seconds: float) -> None:
        """Does what its tasks do, for so long. Fails where it would have cut the connection."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            if now >= self.due:
                self.due += CHECK
                answer = self.check()
                assert answer == b"PONG", f"check {self.checks}: {answer!r}"
                self.checks += 1
            time.sleep(TICK)
            body = self.read(0.1)
            # What is not a message it ignores.
            if body is not None and body != b"PONG":
                self.got.append(body)


class OriginalBroker:
    """Listens; reads nothing but the first frame of a client (with a token) and the answers to its checks."""

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(path)
        self.sock.listen(16)
        self.sock.settimeout(10)
        self.peers: list[Peer] = []

    def accept(self) -> Peer:
        peer = Peer(self.sock.accept()[0])
        self.peers.append(peer)
        return peer

    def close(self) -> None:
        self.sock.close()
        for peer in self.peers:
            peer.close()
