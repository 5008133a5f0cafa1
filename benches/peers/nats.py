"""nats-py and nats-server, over TCP on the loopback interface, since the server listens on nothing else."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import nats

from benches.link import Link, Reception, number_of, pack, unpack

if TYPE_CHECKING:
    from nats.aio.msg import Msg


class Nats(Link):
    """One connection. Limits on what waits for a subscriber are off, so that the client drops nothing."""

    async def open(self, topic: str) -> None:
        self.topic = topic
        self.client = await nats.connect(f"nats://{self.address}", allow_reconnect=False)

    async def subscribe(self, topic: str) -> None:
        self.reads = topic
        self._take: Callable[[int], bool] | None = None
        self._waiting: deque[int] = deque()
        self._some = asyncio.Event()
        if self.variant == "iterator":
            self.subscription = await self.client.subscribe(topic, pending_msgs_limit=-1, pending_bytes_limit=-1)
            self.messages = self.subscription.messages
        else:
            await self.client.subscribe(topic, cb=self._called, pending_msgs_limit=-1, pending_bytes_limit=-1)
        await self.client.flush()

    async def _called(self, message: Msg) -> None:
        number = number_of(message.data)
        if self._take is None:
            self._waiting.append(number)
            self._some.set()
        elif self._take(number):
            self._take = None
            self._some.set()

    async def publish(self, number: int) -> None:
        await self.client.publish(self.topic, self.payload(number))

    async def receive(self) -> int:
        if self.variant == "iterator":
            return number_of((await anext(self.messages)).data)
        while not self._waiting:
            self._some.clear()
            await self._some.wait()
        return self._waiting.popleft()

    async def flush(self) -> None:
        await self.client.flush(60)

    async def close(self) -> None:
        await self.client.close()

    async def flood_piece(self, begin: int, end: int) -> None:
        publish, topic, rest = self.client.publish, self.topic, self.payload.rest
        for number in range(begin, end):
            await publish(topic, pack(number) + rest)
        # It never suspends while its buffer has room, and its reader and flusher need their turn.
        await asyncio.sleep(0)

    async def each(self, take: Callable[[int], bool]) -> None:
        if self.variant == "iterator":
            await super().each(take)
            return
        while self._waiting:
            if take(self._waiting.popleft()):
                return
        self._take = take
        while self._take is not None:
            self._some.clear()
            await self._some.wait()

    async def drain(self, reception: Reception) -> None:
        if self.variant != "iterator":
            await self.each(self.counter(reception))
            return
        while not reception.begin(await self.receive()):
            pass
        expected = 1
        async for message in self.messages:
            (number,) = unpack(message.data)
            if number == expected:
                expected += 1
                reception.received += 1
            else:
                expected = number + 1
                if reception.odd(number):
                    return


link = Nats
