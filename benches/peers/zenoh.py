"""eclipse-zenoh: a session in router mode is the broker; nothing lost because congestion control is Block."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from typing import Any

import zenoh

from benches.link import Link, Reception, number_of, pack, unpack


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
        self._reception: Reception | None = None
        self._done = threading.Event()

    async def subscribe(self, topic: str) -> None:
        self.key = topic.replace(".", "/")
        if self.latency or self.variant == "recv":
            self.subscriber = self.session.declare_subscriber(self.key)

    async def publish(self, number: int) -> None:
        self.publisher.put(self.payload(number))

    async def receive(self) -> int:
        return number_of(self.subscriber.recv().payload.to_bytes())

    async def close(self) -> None:
        self.session.close()

    async def flood_piece(self, begin: int, end: int) -> None:
        put, rest = self.publisher.put, self.payload.rest
        for number in range(begin, end):
            put(pack(number) + rest)

    async def drain(self, reception: Reception) -> None:
        if self.variant == "recv":
            recv = self.subscriber.recv
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
        done = threading.Event()
        expected = 0

        def take(sample: zenoh.Sample) -> None:
            nonlocal expected
            (number,) = unpack(sample.payload.to_bytes())
            if number == expected and expected:
                expected += 1
                reception.received += 1
                return
            if not reception.received:
                if reception.begin(number):
                    expected = number + 1
                return
            expected = number + 1
            if reception.odd(number):
                done.set()

        subscriber = self.session.declare_subscriber(self.key, take)
        await asyncio.to_thread(done.wait)
        subscriber.undeclare()


async def serve(address: str, options: dict[str, Any]) -> None:
    """A router until standard input ends."""
    del options
    with zenoh.open(_config(mode="router", listen__endpoints=[address])):
        print('{"said": "ready"}', flush=True)
        await asyncio.to_thread(sys.stdin.read)


link = Zenoh
