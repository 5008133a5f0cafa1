"""daemoneye_eventbus: nothing lost because both ends wait (`block`)."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Literal

from benches.link import Link, Reception
from daemoneye_eventbus import Broker, BrokerConfig, ClientConfig, EventBus, ProcessEvent, Subscription

_BATCH = 256
_ENVELOPE = 154
"""Bytes of a frame around the text, length and correlation included."""


class Ours(Link):
    """A bus, and a subscription where one was asked for."""

    def prepare(self, topic: str) -> None:
        """What every message has in common."""
        self.topic = topic
        room = max(self.size - _ENVELOPE, 0)
        self.text = "/usr/bin/chrome --type=renderer --lang=en-US ".ljust(room, "x")[:room]
        self.held: list[Subscription[Any]] = []
        self.broker: Broker | None = None

    async def open(self, topic: str) -> None:
        self.prepare(topic)
        config = ClientConfig(congestion="block", max_frame=8 << 20, pool=False, publish_timeout=60)
        if self.options.get("hosts"):
            self.broker = _broker(self.address, {})
            await self.broker.start()
            self.bus = await EventBus.from_broker(self.broker, config=config)
        else:
            self.bus = await EventBus.connect(self.address, config=config)

    async def alone(self, topic: str) -> None:
        self.prepare(topic)
        self.broker = Broker(self.address)
        await self.broker.start()
        self.bus = await EventBus.from_broker(self.broker, config=ClientConfig(congestion="block"))
        await self.subscribe(topic)

    async def subscribe(self, topic: str) -> None:
        """One that waits has a connection of its own, so those of which thousands are held only do so by default."""
        overflow: Literal["block", "drop_oldest"] = "drop_oldest" if self.options.get("quiet") else "block"
        self.events = await self.bus.subscribe(topic, overflow=overflow)
        self.held.append(self.events)

    def event(self, number: int) -> ProcessEvent:
        """A process event with every field that a collector fills."""
        return ProcessEvent(
            pid=number,
            name="chrome",
            command_line=self.text,
            executable_path="/usr/bin/chrome",
            ppid=1000,
            metadata={"user": "alice"},
        )

    async def publish(self, number: int) -> None:
        await self.bus.publish(self.event(number), "correlation-123", topic=self.topic)

    async def receive(self) -> int:
        return (await self.events.get()).event.pid

    async def flush(self) -> None:
        await self.bus.flush(60)

    async def close(self) -> None:
        await self.bus.shutdown()
        if self.broker:
            await self.broker.shutdown()

    async def flood_piece(self, begin: int, end: int) -> None:
        bus, topic, text = self.bus, self.topic, self.text
        if self.variant == "many":
            await bus.publish_many([self.event(number) for number in range(begin, end)], "correlation-123", topic=topic)
            return
        for number in range(begin, end):
            event = ProcessEvent(
                pid=number,
                name="chrome",
                command_line=text,
                executable_path="/usr/bin/chrome",
                ppid=1000,
                metadata={"user": "alice"},
            )
            await bus.publish(event, "correlation-123", topic=topic)

    async def drain(self, reception: Reception) -> None:
        while not reception.begin(await self.receive()):
            pass
        if self.variant == "many":
            await self._drain_many(reception)
            return
        expected = received = 1
        async for message in self.events:
            number = message.event.pid
            if number == expected:
                expected += 1
                received += 1
                continue
            expected = number + 1
            reception.received += received - 1
            received = 1
            if reception.odd(number):
                return

    async def _drain_many(self, reception: Reception) -> None:
        expected = received = 1
        while True:
            for message in await self.events.get_many(_BATCH):
                number = message.event.pid
                if number == expected:
                    expected += 1
                    received += 1
                    continue
                expected = number + 1
                reception.received += received - 1
                received = 1
                if reception.odd(number):
                    return


def _broker(address: str, options: dict[str, Any]) -> Broker:
    config = BrokerConfig(
        max_frame=8 << 20,
        max_connections=1024,
        max_connections_per_uid=1024,
        # A limit on all queues together drops, whoever waits; where nothing may be lost it must hold all of them full.
        total_queue_bytes=8 << 30,
        max_patterns_per_client=int(options.get("patterns", 1024)),
    )
    return Broker(address, config=config)


async def serve(address: str, options: dict[str, Any]) -> None:
    """A broker until standard input ends."""
    async with _broker(address, options):
        print('{"said": "ready"}', flush=True)
        await asyncio.to_thread(sys.stdin.read)


link = Ours
