"""What comes over a socket at once, more than a small queue holds: a reader that is ready loses none of it.

Each burst is published within one turn of the loop, so that the reader finds all of it in its socket.
"""

import asyncio

import pytest

from daemoneye_eventbus import Broker, EventBus, EventFilter
from interrupter import Interrupter
from support import collect, pids, process, take_all

COUNT = 3000


async def burst(broker, count=COUNT, **fields):
    async with EventBus.from_broker(broker) as bus:
        for number in range(count):
            topic = f"events.process.{'ab'[number // 3 % 2]}"
            bus.publish_nowait(process(number, **fields), topic=topic)


QUEUES = {
    **{f"{messages} messages": ({"queue_messages": messages}, 0) for messages in [1, 2, 10, 100, 511, 2000]},
    "one byte": ({"queue_bytes": 1}, 0),
    "10 events": ({"queue_bytes": 20_000}, 2_000),
}


@pytest.mark.parametrize("filtered", [False, True], ids=["all", "filtered"])
@pytest.mark.parametrize("queue", QUEUES)
async def test_a_burst_overflows_no_queue_of_a_ready_reader(path, queue, filtered):
    """Once all but the last were dropped: whatever had been read was pushed before the reader had a turn."""
    options, size = QUEUES[queue]
    # With several on one connection, each event is filtered for each.
    passes_all = EventFilter(event_types=("process",)) if filtered else None
    async with (
        Broker(path) as broker,
        EventBus.connect(path) as bus,
        bus.subscribe("events.#", event_filter=passes_all, **options) as events,
        bus.subscribe("events.#") as beside,
    ):
        reading = asyncio.create_task(collect(events, COUNT))
        await asyncio.sleep(0)
        await burst(broker, command_line="x" * size)
        assert pids(await reading) == list(range(COUNT))
        assert (events.dropped, beside.dropped) == (0, 0)
        assert pids(await collect(beside, COUNT)) == list(range(COUNT))


async def lets_others_run(events, _bus):
    while True:
        for item in await events.get_many(100):
            yield item
        await asyncio.sleep(0)


async def publishes_for_each(events, bus):
    async for item in events:
        yield item
        await bus.publish_control("control.seen", b"")


async def publishes_for_each_batch(events, bus):
    while True:
        for item in await events.get_many(100):
            yield item
        await bus.publish_control("control.seen", b"")


async def waits_in_a_task(events, _bus):
    while True:
        read = asyncio.create_task(events.get())
        await asyncio.wait([read], timeout=20)
        yield read.result()


async def waits_with_a_limit(events, _bus):
    while True:
        # A task for each, up to Python 3.11.
        yield await asyncio.wait_for(events.get(), 20)


@pytest.mark.parametrize("messages", [1, 10, 1000])
@pytest.mark.parametrize(
    "read", [lets_others_run, publishes_for_each, publishes_for_each_batch, waits_in_a_task, waits_with_a_limit]
)
async def test_a_reader_that_comes_back_within_some_turns_is_ready(path, read, messages):
    """Once a turn that the library itself gave to others was taken for one in which the reader wanted nothing."""
    async with (
        Broker(path) as broker,
        EventBus.connect(path) as bus,
        bus.subscribe("events.#", queue_messages=messages) as events,
    ):
        numbers = []

        async def reading():
            async for item in read(events, bus):
                numbers.append(item.event.pid)
                if item.event.pid == COUNT - 1:
                    return

        task = asyncio.create_task(reading())
        await asyncio.sleep(0)
        await burst(broker)
        await task
        assert events.dropped == 0
        assert numbers == list(range(COUNT))


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
async def test_a_reader_that_takes_nothing_holds_up_nobody(path, overflow):
    async with (
        Broker(path) as broker,
        EventBus.connect(path) as bus,
        bus.subscribe("events.#", queue_messages=10, overflow=overflow) as idle,
        bus.subscribe("events.#") as events,
    ):
        for _ in range(2):
            await burst(broker)
            assert pids(await collect(events, COUNT)) == list(range(COUNT))
        await bus.flush()
        assert (idle.pending, idle.dropped) == (10, 2 * COUNT - 10)
        kept = range(COUNT - 10, COUNT) if overflow == "drop_oldest" else range(10)
        assert pids(take_all(idle)) == list(kept)


async def test_what_waits_for_a_turn_at_the_end_is_accounted_for(path):
    """The subscription is closed by its reader within a burst."""
    async with (
        Broker(path) as broker,
        EventBus.connect(path) as bus,
        bus.subscribe("events.#") as beside,
    ):
        events = await bus.subscribe("events.#", queue_messages=10)
        reading = asyncio.create_task(collect(events, 15))
        await asyncio.sleep(0)
        await burst(broker)
        assert pids(await reading) == list(range(15))
        await events.close()
        assert events.dropped == COUNT - 15
        assert len(await collect(beside, COUNT)) == COUNT


@pytest.mark.parametrize("behind", ["on_readable", "next_turn"])
def test_an_interrupt_between_two_parts_of_a_burst_loses_nothing(path, behind):
    def is_behind(_frame, event, argument):
        return event == "c_return" and argument.__name__ == behind

    async def prepare():
        broker = Broker(path)
        await broker.start()
        bus = await EventBus.connect(path)
        events = await bus.subscribe("events.#", queue_messages=10)
        return broker, bus, events, asyncio.create_task(collect(events, COUNT))

    with asyncio.Runner() as runner:
        broker, bus, events, reading = runner.run(prepare())

        async def interrupted():
            await burst(broker)
            with Interrupter(1, is_behind, KeyboardInterrupt):
                await reading

        with pytest.raises(KeyboardInterrupt):
            runner.run(interrupted())

        async def after():
            assert pids(await reading) == list(range(COUNT))
            assert events.dropped == 0
            await bus.shutdown()
            await broker.shutdown()

        runner.run(after())
