"""pyzmq through a proxy of XSUB and XPUB over ipc, without high-water marks, so that nothing is dropped."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

import zmq
import zmq.asyncio

from benches.link import Link, Reception, number_of, pack, unpack


def _prefix(topic: str) -> bytes:
    return topic.encode() + b" "


class Zmq(Link):
    """A PUB socket, and a SUB socket where one was asked for: plain, or their asyncio wrapper."""

    async def open(self, topic: str) -> None:
        self.blocking = self.variant == "blocking"
        self.context: Any = zmq.Context() if self.blocking else zmq.asyncio.Context()
        self.topic = _prefix(topic)
        self.sending = self._socket(zmq.PUB, "in")

    def _socket(self, kind: int, side: str) -> Any:
        socket = self.context.socket(kind)
        socket.set_hwm(0)
        socket.connect(f"ipc://{self.address}.{side}")
        return socket

    async def subscribe(self, topic: str) -> None:
        self.reading = self._socket(zmq.SUB, "out")
        self.reading.subscribe(_prefix(topic))
        self.at = len(_prefix(topic))

    async def publish(self, number: int) -> None:
        sent = self.sending.send(self.topic + self.payload(number))
        if not self.blocking:
            await sent

    async def receive(self) -> int:
        data = self.reading.recv() if self.blocking else await self.reading.recv()
        return number_of(memoryview(data)[self.at :])

    async def close(self) -> None:
        self.context.destroy(linger=0)

    async def flood_piece(self, begin: int, end: int) -> None:
        send, topic, rest = self.sending.send, self.topic, self.payload.rest
        if self.blocking:
            for number in range(begin, end):
                send(topic + pack(number) + rest)
        else:
            for number in range(begin, end):
                await send(topic + pack(number) + rest)
            await asyncio.sleep(0)

    async def drain(self, reception: Reception) -> None:
        while not reception.begin(await self.receive()):
            pass
        recv, at, expected, blocking = self.reading.recv, self.at, 1, self.blocking
        while True:
            (number,) = unpack(recv() if blocking else await recv(), at)
            if number == expected:
                expected += 1
                reception.received += 1
            else:
                expected = number + 1
                if reception.odd(number):
                    return


async def serve(address: str, options: dict[str, Any]) -> None:
    """The proxy until standard input ends."""
    del options
    context = zmq.Context()

    def run() -> None:
        front, back = context.socket(zmq.XSUB), context.socket(zmq.XPUB)
        for socket, side in ((front, "in"), (back, "out")):
            socket.set_hwm(0)
            socket.bind(f"ipc://{address}.{side}")
        print('{"said": "ready"}', flush=True)
        zmq.proxy(front, back)

    threading.Thread(target=run, daemon=True).start()
    await asyncio.to_thread(sys.stdin.read)


link = Zmq
