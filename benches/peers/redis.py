"""redis-py (asyncio, hiredis) and redis-server over its Unix socket, without output limits."""

from __future__ import annotations

import redis.asyncio
from redis.asyncio.client import PubSub

from benches.link import Link, Reception, number_of, pack, unpack

_PIPELINE = 100


class Redis(Link):
    """A client, and a pubsub where one was asked for."""

    async def open(self, topic: str) -> None:
        self.topic = topic
        self.client = redis.asyncio.Redis(unix_socket_path=self.address)
        self.pubsub: PubSub | None = None
        await self.client.ping()

    async def subscribe(self, topic: str) -> None:
        if self.pubsub is None:
            self.pubsub = self.client.pubsub()
        await self.pubsub.subscribe(topic)
        self.messages = self.pubsub.listen()
        await anext(self.messages)

    async def publish(self, number: int) -> None:
        await self.client.publish(self.topic, self.payload(number))

    async def receive(self) -> int:
        return number_of((await anext(self.messages))["data"])

    async def close(self) -> None:
        await self.client.aclose()

    async def flood_piece(self, begin: int, end: int) -> None:
        publish, topic, rest = self.client.publish, self.topic, self.payload.rest
        if self.variant == "single":
            for number in range(begin, end):
                await publish(topic, pack(number) + rest)
            return
        for start in range(begin, end, _PIPELINE):
            pipeline = self.client.pipeline(transaction=False)
            for number in range(start, min(start + _PIPELINE, end)):
                pipeline.publish(topic, pack(number) + rest)
            await pipeline.execute()

    async def drain(self, reception: Reception) -> None:
        while not reception.begin(await self.receive()):
            pass
        expected = 1
        async for message in self.messages:
            (number,) = unpack(message["data"])
            if number == expected:
                expected += 1
                reception.received += 1
            else:
                expected = number + 1
                if reception.odd(number):
                    return


link = Redis
