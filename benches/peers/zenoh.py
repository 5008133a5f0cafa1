"""eclipse-zenoh: a session in router mode is the broker; nothing lost because congestion control is Block."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Callable
from typing import Any

import zenoh

from benches.link import END, Link, Reception, number_of, pack, unpack


def _config(**values: Any) -> zenoh.Config:
    config = zenoh.Config()
    for key, value in {"scouting/multicast/enabled": False, **values}.items():
        config.insert_json5(key.replace("__", "/"), json.dumps(value))
    return config


class Zenoh(Link):
    """A client session. What blocks, blocks: nothing of it is awaited."""

    blocking = True

    async def open(self, topic: str) -> None:
        self.session = zenoh.open(_config(mode="client", connect__endpoints=[self.address]))
        self.publisher = self.session.declare_publisher(
            topic.replace(".", "/"), congestion_control=zenoh.CongestionControl.BLOCK, express=self.latency
        )
        self.subscribers: list[zenoh.Subscriber] = []

    async def subscribe(self, topic: str) -> None:
        """With a callback the subscriber is declared where its callback is known."""
        self.key = topic.replace(".", "/")
        if self.variant == "recv" or self.options.get("receives"):
            self.subscribers.append(self.session.declare_subscriber(self.key))

    async def publish(self, number: int) -> None:
        self.publisher.put(self.payload(number))

    async def receive(self) -> int:
        return number_of(self.subscribers[0].recv().payload.to_bytes())

    async def each(self, take: Callable[[int], bool]) -> None:
        if self.variant == "recv":
            await super().each(take)
            return
        done = threading.Event()

        def called(sample: zenoh.Sample) -> None:
            if take(unpack(sample.payload.to_bytes())[0]):
                done.set()

        self.subscribers.append(self.session.declare_subscriber(self.key, called))
        await asyncio.to_thread(done.wait)

    async def echo(self) -> None:
        if self.variant == "recv":
            await super().echo()
            return
        put, payload = self.publisher.put, self.payload

        def back(number: int) -> bool:
            if number == END:
                return True
            put(payload(number))
            return False

        await self.each(back)

    async def close(self) -> None:
        self.session.close()

    async def flood_piece(self, begin: int, end: int) -> None:
        put, rest = self.publisher.put, self.payload.rest
        for number in range(begin, end):
            put(pack(number) + rest)

    async def drain(self, reception: Reception) -> None:
        if self.variant == "recv":
            recv = self.subscribers[0].recv
            while not reception.begin(number_of(recv().payload.to_bytes())):
                pass
            expected = 1
            while True:
                (number,) = unpack(recv().payload.to_bytes())
                if number == expected:
                    expected += 1
                    reception.received += 1
                else:
                    expected = number + 1
                    if reception.odd(number):
                        return
        await self.each(self.counter(reception))


async def serve(address: str, options: dict[str, Any]) -> None:
    """A router until standard input ends."""
    del options
    with zenoh.open(_config(mode="router", listen__endpoints=[address])):
        print('{"said": "ready"}', flush=True)
        await asyncio.to_thread(sys.stdin.read)


link = Zenoh
