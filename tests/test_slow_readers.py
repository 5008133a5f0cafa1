"""A reader that is slow and never stops is waited for, whatever is read ahead for it on its side."""

import asyncio
import contextlib
import itertools
import socket

import pytest

from daemoneye_eventbus import Broker, BrokerConfig, ClientConfig, EventBus
from raw import Raw, info
from support import eventually, process

BLOCK = ClientConfig(congestion="block", pool=False, publish_timeout=60.0)
# What a subscription, its client and the kernel hold would last such a reader for many times this long.
STALL = 1.0


@contextlib.asynccontextmanager
async def flooded(path, size=lambda _number: 100, **queue):
    """A broker with a small queue, and a reader behind it, both of which one publisher keeps full."""

    async def flood(bus):
        for number in itertools.count():
            await bus.publish(process(number, command_line="x" * size(number)))

    config = BrokerConfig(stall_timeout=STALL, queue_messages=100)
    async with (
        Broker(path, config=config) as broker,
        EventBus.connect(path, config=BLOCK) as publisher,
        EventBus.connect(path, config=BLOCK) as reader,
        reader.subscribe("events.#", overflow="block", **(queue or {"queue_messages": 10})) as events,
    ):
        flooding = asyncio.create_task(flood(publisher))
        try:
            yield broker, events
        finally:
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


async def test_a_slow_reader_before_a_large_message_is_no_stalled_one(path):
    """What it took of smaller ones made no room for that, and was not told before it had."""

    def size(number):
        return 100 if number < 300 else 80_000

    async with flooded(path, size, queue_bytes=100_000) as (broker, events):
        got = []
        end = asyncio.get_running_loop().time() + 3 * STALL
        while asyncio.get_running_loop().time() < end:
            got.append((await events.get(timeout=10)).event.pid)
            await asyncio.sleep(0.05)
        assert broker.statistics().dropped == {}
        assert got == list(range(len(got)))
        assert len(got) < 100, "the large one had room"


async def test_a_reader_that_stops_is_stalled_all_the_same(path):
    async with flooded(path) as (broker, events):
        await events.get(timeout=10)
        await asyncio.sleep(3 * STALL)
        assert broker.statistics().dropped["overflow"] > 0


def verbs_of_two_connections(listener):
    """What a client says to a broker that knows `TAKEN` and breaks off after its second `PING`, twice."""
    heard = []
    for _ in range(2):
        with contextlib.closing(Raw.of(listener.accept()[0])) as peer:
            peer.expect("CONNECT")
            peer.say("INFO", **info(), taken=True)
            for _ in range(2):
                verb = None
                while verb != "PING":
                    verb, _fields = peer.hear()
                    heard.append(verb)
                peer.say("PONG")
    return heard


async def test_a_bus_that_reads_nothing_tells_of_no_taking(path):
    """It said at connect and at each reconnect that messages of a full subscription were taken."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        serving = asyncio.create_task(asyncio.to_thread(verbs_of_two_connections, listener))
        bus = await EventBus.connect(path, config=BLOCK)
        for _ in range(2):
            await bus.flush()
            await bus.flush()
            await eventually(lambda: serving.done() or bus.local_statistics()["reconnects"] > 0, what="the next one")
        assert await serving == ["PING"] * 4
        await bus.shutdown()
