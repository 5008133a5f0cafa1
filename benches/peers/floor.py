"""No bus: what blocking Unix sockets and Python cost when a third process relays bytes that it does not look at."""

from __future__ import annotations

import socket
import sys
import threading
from typing import Any

from benches.link import Link, Reception, number_of, pack, unpack

_CHUNK = 256 * 1024


class Floor(Link):
    """One connection to the relay; its first byte says whether it reads (R) or writes (W)."""

    blocking = True

    async def open(self, topic: str) -> None:
        self.topic = topic
        self.socket: socket.socket | None = None
        self.reading: socket.socket | None = None

    def _connect(self, role: bytes, topic: str) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(self.address)
        connection.sendall(role + topic.encode().ljust(63))
        return connection

    async def subscribe(self, topic: str) -> None:
        self.reading = self._connect(b"R", topic)
        self.reading.recv(1)

    async def publish(self, number: int) -> None:
        if self.socket is None:
            self.socket = self._connect(b"W", self.topic)
        self.socket.sendall(self.payload(number))

    async def receive(self) -> int:
        assert self.reading is not None
        data = self.reading.recv(self.size)
        while len(data) < self.size:
            more = self.reading.recv(self.size - len(data))
            if not more:
                raise ConnectionError("the relay ended")
            data += more
        return number_of(data)

    async def flood_piece(self, begin: int, end: int) -> None:
        assert self.socket is not None
        sendall, rest = self.socket.sendall, self.payload.rest
        for number in range(begin, end):
            sendall(pack(number) + rest)

    async def drain(self, reception: Reception) -> None:
        assert self.reading is not None
        buffer = memoryview(bytearray(_CHUNK))
        held, size, take = 0, self.size, self.counter(reception)
        while True:
            held += self.reading.recv_into(buffer[held:])
            whole = held - held % size
            for at in range(0, whole, size):
                if take(unpack(buffer, at)[0]):
                    return
            buffer[: held - whole] = buffer[whole:held]
            held -= whole


def _relay(source: socket.socket, sinks: list[socket.socket]) -> None:
    buffer = memoryview(bytearray(_CHUNK))
    while count := source.recv_into(buffer):
        for sink in sinks:
            sink.sendall(buffer[:count])


async def serve(address: str, options: dict[str, Any]) -> None:
    """Relays from each writer to the readers of its topic that came before it, a thread per writer."""
    del options
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(address)
    listener.listen(256)
    readers: dict[bytes, list[socket.socket]] = {}

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            said = connection.recv(64, socket.MSG_WAITALL)
            if said[:1] == b"R":
                readers.setdefault(said[1:], []).append(connection)
                connection.sendall(b"!")
            else:
                sinks = readers.setdefault(said[1:], [])
                threading.Thread(target=_relay, args=(connection, sinks), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    print('{"said": "ready"}', flush=True)
    sys.stdin.read()


link = Floor
