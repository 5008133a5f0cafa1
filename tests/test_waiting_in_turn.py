"""Publishers that wait for room are served in turn, however many tasks or events each of them has."""

import asyncio
import contextlib
import itertools
from collections import Counter

import pytest

from daemoneye_eventbus import Broker, BrokerConfig, ClientConfig, EventBus
from support import eventually, process

BLOCK = ClientConfig(congestion="block", publish_timeout=60.0)


async def publish_one_by_one(bus, name):
    for number in itertools.count():
        await bus.publish(process(number, name))


async def publish_many(bus, name):
    await bus.publish_many(process(number, name) for number in itertools.count())


@contextlib.asynccontextmanager
async def running(*coroutines):
    """All of them, until the block is left."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    yield
    assert not any(task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def served(events, count, queue, pause=0.0):
    """How many of the next ``count`` events each publisher has; whoever may go on does before the next is taken."""
    names = Counter()
    for _ in range(count):
        names[(await events.get(timeout=10)).event.name] += 1
        await eventually(lambda: events.pending == queue)
        for _ in range(5):
            await asyncio.sleep(pause)
    return names


@pytest.mark.parametrize("queue", [1, 8])
@pytest.mark.parametrize("publish", [publish_one_by_one, publish_many])
async def test_a_bus_with_many_tasks_leaves_others_their_turn(broker, queue, publish):
    """In the broker's process, where all tasks of a bus are tried as soon as it is woken."""
    async with contextlib.AsyncExitStack() as stack:
        buses = [await stack.enter_async_context(EventBus.from_broker(broker, config=BLOCK)) for _ in range(4)]
        events = await stack.enter_async_context(buses[0].subscribe("events.#", queue_messages=queue, overflow="block"))
        busy, *others = buses[1:]
        publishers = [publish(busy, "busy") for _ in range(3)]
        publishers += [publish_one_by_one(bus, f"other {number}") for number, bus in enumerate(others)]
        async with running(*publishers):
            await served(events, 2 * queue + 10, queue)
            names = await served(events, 60, queue)
    assert set(names) == {"busy", "other 0", "other 1"}
    assert all(18 <= count <= 22 for count in names.values()), names


async def test_single_publishes_leave_publish_many_its_turn(broker):
    async with (
        EventBus.from_broker(broker, config=BLOCK) as many,
        EventBus.from_broker(broker, config=BLOCK) as single,
        many.subscribe("events.#", queue_messages=8, overflow="block") as events,
        running(*(publish_one_by_one(single, "single") for _ in range(300)), publish_many(many, "many")),
    ):
        await served(events, 30, 8)
        names = await served(events, 40, 8)
    assert all(18 <= count <= 22 for count in names.values()), names


async def test_buses_of_one_connection_are_served_in_turn(path):
    """The tasks of the first bus have more to publish than the connection's buffer holds."""
    config = ClientConfig(congestion="block", publish_timeout=60.0, send_buffer_bytes=64 * 1024)
    done = Counter()

    async def publish(bus, name):
        for number in itertools.count():
            await bus.publish(process(number, name, command_line="x" * 3000))
            done[name] += 1

    async with (
        Broker(path, config=BrokerConfig(queue_messages=50)) as broker,
        EventBus.from_broker(broker) as reader,
        EventBus.connect(path, config=config) as first,
        EventBus.connect(path, config=config) as second,
        reader.subscribe("events.#", queue_messages=50, overflow="block") as events,
        running(*(publish(first, "first") for _ in range(60))),
    ):
        assert len([client for client in broker.clients() if client.peer != "local"]) == 1
        before = -1
        # Until the kernel and every buffer is full.
        while before != (before := done["first"]):
            await asyncio.sleep(0.1)
        async with running(publish(second, "second")):
            for _ in range(1000):
                await events.get(timeout=10)
                # The broker goes on meanwhile, and takes more of the connection when it has worked off what it had.
                await asyncio.sleep(0.001)
    assert done["second"] >= 10, done


async def test_connections_are_served_in_turn(path):
    config = ClientConfig(congestion="block", publish_timeout=60.0, pool=False)
    async with contextlib.AsyncExitStack() as stack:
        broker = await stack.enter_async_context(Broker(path))
        reader = await stack.enter_async_context(EventBus.from_broker(broker))
        events = await stack.enter_async_context(reader.subscribe("events.#", queue_messages=8, overflow="block"))
        for number in range(4):
            bus = await stack.enter_async_context(EventBus.connect(path, config=config))
            before = broker.statistics().messages_published
            await stack.enter_async_context(running(publish_one_by_one(bus, str(number))))
            # The queue is full, and the broker has some of this one's that waits.
            await eventually(lambda before=before: broker.statistics().messages_published > before)
            await eventually(lambda: events.pending == 8)
        await served(events, 8, 8)
        # The broker has a thread of its own.
        names = await served(events, 200, 8, pause=0.001)
    assert set(names) == set("0123"), names
    assert min(names.values()) >= 30, names
