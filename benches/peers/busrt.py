"""busrt_async and the real busrtd. The client starts a task per frame and has no way to wait for a reader."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from typing import Any

from busrt_async.client import OP_PUBLISH, Client, Frame

from benches.link import Link, Reception, number_of, pack

_REALTIME = 2
"""Quality of service that flushes at once, without an answer."""


class Busrt(Link):
    """One client. A frame's `on_frame` is its own task."""

    async def open(self, topic: str) -> None:
        self.topic = topic
        self.qos = _REALTIME if self.latency else 0
        self.client: Any = Client(self.address, f"bench.{os.getpid()}.{id(self)}")
        self._take: Callable[[int], bool] | None = None
        self._waiting: deque[int] = deque()
        self._some = asyncio.Event()
        self.client.on_frame = self._called
        await self.client.connect()

    async def subscribe(self, topic: str) -> None:
        await self.client.subscribe(topic)

    async def _called(self, frame: Any) -> None:
        number = number_of(frame.payload)
        if self._take is None:
            self._waiting.append(number)
            self._some.set()
        elif self._take(number):
            self._take = None
            self._some.set()

    async def publish(self, number: int) -> None:
        await self.client.send(self.topic, Frame(self.payload(number), tp=OP_PUBLISH, qos=self.qos))

    async def receive(self) -> int:
        while not self._waiting:
            self._some.clear()
            await self._some.wait()
        return self._waiting.popleft()

    async def close(self) -> None:
        await self.client.disconnect()

    async def flood_piece(self, begin: int, end: int) -> None:
        send, topic, rest = self.client.send, self.topic, self.payload.rest
        for number in range(begin, end):
            await send(topic, Frame(pack(number) + rest, tp=OP_PUBLISH))
        await asyncio.sleep(0)

    async def each(self, take: Callable[[int], bool]) -> None:
        while self._waiting:
            if take(self._waiting.popleft()):
                return
        self._take = take
        while self._take is not None:
            self._some.clear()
            await self._some.wait()

    async def drain(self, reception: Reception) -> None:
        await self.each(self.counter(reception))


link = Busrt
