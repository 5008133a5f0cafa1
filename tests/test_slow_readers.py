"""A reader that is slow and never stops is waited for, whatever is read ahead for it on its side."""

import asyncio
import contextlib
import itertools

import pytest

from daemoneye_eventbus import Broker, BrokerConfig, ClientConfig, EventBus
from support import process

BLOCK = ClientConfig(congestion="block", pool=False, publish_timeout=60.0)
# What a subscription, its client and the kernel hold would last such a reader for many times this long.
STALL = 1.0


@contextlib.asynccontextmanager
async def flooded(path):
    """A broker with a small queue, and a reader behind it, both of which one publisher keeps full."""

    async def flood(bus):
        for number in itertools.count():
            await bus.publish(process(number, command_line="x" * 100))

    config = BrokerConfig(stall_timeout=STALL, queue_messages=100)
    async with (
        Broker(path, config=config) as broker,
        EventBus.connect(path, config=BLOCK) as publisher,
        EventBus.connect(path, config=BLOCK) as reader,
        reader.subscribe("events.#", overflow="block", queue_messages=10) as events,
    ):
        flooding = asyncio.create_task(flood(publisher))
        yield broker, events
        flooding.cancel()


@pytest.mark.parametrize("read", ["get", "get_many", "async for"])
async def test_a_slow_reader_is_no_stalled_one(path, read):
    """The client had read ahead, and the kernel held as much: the broker saw nothing move while messages were taken."""

    async def take(events):
        if read == "get":
            return [await events.get(timeout=10)]
        if read == "get_many":
            return await events.get_many(3, timeout=10)
        return [await anext(events)]

    async with flooded(path) as (broker, events):
        got = []
        end = asyncio.get_running_loop().time() + 4 * STALL
        while asyncio.get_running_loop().time() < end:
            got += [received.event.pid for received in await take(events)]
            await asyncio.sleep(0.05)
        assert broker.statistics().dropped == {}
        assert got == list(range(len(got)))


async def test_a_reader_that_stops_is_stalled_all_the_same(path):
    async with flooded(path) as (broker, events):
        await events.get(timeout=10)
        await asyncio.sleep(3 * STALL)
        assert broker.statistics().dropped["overflow"] > 0
