"""No bus: what an `asyncio.Queue` costs between two tasks of one process."""

from __future__ import annotations

import asyncio

from benches.link import Link, number_of

_LENGTH = 1_000


class Queue(Link):
    """Put and get, awaited as a bus's calls are."""

    async def alone(self, topic: str) -> None:
        del topic
        self.queue: asyncio.Queue[bytes] = asyncio.Queue(_LENGTH)

    async def publish(self, number: int) -> None:
        await self.queue.put(self.payload(number))

    async def receive(self) -> int:
        return number_of(await self.queue.get())

    async def close(self) -> None:
        """Nothing is held."""


link = Queue
