"""Our broker without our Python at the ends: ready-made frames in large pieces, so that the broker is measured."""

from __future__ import annotations

import itertools
import json
import socket
import uuid

from benches.link import END, WARM, Link, Reception, clock
from benches.peers.ours import Ours, serve
from daemoneye_eventbus import CollectionEvent, CorrelationMetadata, Timestamp, wire

_PIECE = 280
"""Frames of one write: 64 KB."""
_CHUNK = 256 * 1024
_ID = slice(5, 21)
"""Where a frame has its message's id: behind two lengths."""


def _text(verb: str, **fields: object) -> bytes:
    body = f"{verb} {json.dumps(fields)}".encode()
    return len(body).to_bytes(4, "little") + body


class Core(Link):
    """One connection, speaking the wire as docs/wire.md has it."""

    blocking = True

    async def open(self, topic: str) -> None:
        self.frames = {number: self._frame(topic, number) for number in (0, WARM, END)}
        self.sent = 0
        self.socket = self._connect(congestion="block")

    def _frame(self, topic: str, number: int) -> bytes:
        ours = Ours(self.address, "await", {"size": self.size})
        ours.prepare(topic)
        payload = wire.encode(ours.event(70_000), type=CollectionEvent)
        correlation = CorrelationMetadata("correlation-123")
        now = Timestamp.from_ns(1_767_916_800_123_456_789)
        message = wire.Message(str(uuid.UUID(int=number)), topic, correlation, payload, 70_000, now, "Event")
        body = wire.encode(message)
        return len(body).to_bytes(4, "little") + body

    def _connect(self, **options: object) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(self.address)
        self._ask(connection, _text("CONNECT", protocol=1, **options))
        return connection

    @staticmethod
    def _ask(connection: socket.socket, text: bytes) -> None:
        connection.sendall(text)
        size = int.from_bytes(connection.recv(4, socket.MSG_WAITALL), "little")
        answer = connection.recv(size, socket.MSG_WAITALL)
        if not answer.startswith((b"INFO", b"OK")):
            raise ConnectionError(answer.decode())

    async def subscribe(self, topic: str) -> None:
        self.reads = len(self._frame(topic, 0))
        self.reading = self._connect()
        self._ask(self.reading, _text("SUB", id=1, topic_patterns=[topic]))

    async def publish(self, number: int) -> None:
        self.socket.sendall(self.frames[number])
        self.sent += number == WARM

    async def flood(self, deadline: float, least: int) -> int:
        """Warm-up messages are counted, since its reader cannot tell them apart."""
        piece = self.frames[0] * _PIECE
        count = self.sent
        for count in itertools.count(self.sent + _PIECE, _PIECE):
            self.socket.sendall(piece)
            if clock() > deadline and count >= least:
                break
        return count

    async def drain(self, reception: Reception) -> None:
        size = self.reads
        buffer = memoryview(bytearray(_CHUNK))
        tail, total, end = b"", 0, uuid.UUID(int=END).bytes
        while tail[_ID] != end:
            count = self.reading.recv_into(buffer)
            if not count:
                raise ConnectionError("the broker ended the connection")
            if not total:
                reception.warm()
            total += count
            if not reception.first and count > size * 4:
                reception.first = clock()
            tail = (tail + bytes(buffer[max(0, count - size) : count]))[-size:]
        reception.last = clock()
        reception.received, rest = divmod(total - size, size)
        reception.disorder += rest != 0


link = Core
__all__ = ["link", "serve"]
