"""Publishes that wait for room are served in the order of the calls."""

import asyncio
import gc
import warnings

import pytest

from daemoneye_eventbus import (
    Broker,
    ClientConfig,
    ConnectionClosed,
    EventBus,
    PerformanceEvent,
    ProcessEvent,
    PublishTimeout,
    WouldBlock,
    WrongLoop,
)
from support import collect, eventually, pids, process, take_all

LARGE, SMALL = 60_000, 10


async def fill(bus: EventBus, number: int = 0) -> int:
    while True:
        try:
            bus.publish_nowait(process(number, "x" * 3000))
        except WouldBlock:
            return number
        number += 1


async def start_publishing(bus: EventBus, *events: ProcessEvent) -> list[asyncio.Task[None]]:
    """Tasks that publish one event each and came to wait in this order."""
    waiting = []
    for event in events:
        waiting.append(asyncio.create_task(bus.publish(event)))
        # More than the turns that a publisher may give to others before it begins.
        for _ in range(4):
            await asyncio.sleep(0)
    return waiting


def large_and_small(begin: int) -> list[ProcessEvent]:
    """Each seventh is large, and has to wait for more room than those behind it."""
    return [process(begin + number, "x" * (LARGE if number % 7 == 0 else SMALL)) for number in range(60)]


async def test_a_large_event_is_not_overtaken_over_a_socket(path, program):
    broker = program("broker.py", path)
    await broker.answer()
    config = ClientConfig(pool=False, congestion="block", send_buffer_bytes=65_536)
    async with EventBus.connect(path, config=config) as bus, bus.subscribe("events.#") as events:
        broker.freeze()
        before = await fill(bus)
        waiting = await start_publishing(bus, *large_and_small(before))
        broker.thaw()
        await asyncio.gather(*waiting)
        assert pids(await collect(events, before + 60)) == list(range(before + 60))
    broker.finish()


async def test_a_large_event_is_not_overtaken_in_process(path):
    """Its reader once saw `sequence` fall."""
    async with (
        Broker(path) as broker,
        EventBus.from_broker(broker, config=ClientConfig(congestion="block")) as bus,
        EventBus.from_broker(broker) as other,
        other.subscribe("events.#", queue_bytes=65_536, overflow="block") as events,
    ):
        before = await fill(bus)
        waiting = await start_publishing(bus, *large_and_small(before))
        got = [await events.get(5) for _ in range(before + 60)]
        await asyncio.gather(*waiting)
        assert pids(got) == list(range(before + 60))
        assert [item.sequence for item in got] == sorted(item.sequence for item in got)


@pytest.mark.parametrize("gives_up", ["first", "behind"])
@pytest.mark.parametrize("way", ["cancellation", "time-out"])
async def test_a_waiting_publish_that_gives_up_stops_no_other(path, way, gives_up):
    """The others keep their order, and are published when there is room."""
    config = ClientConfig(congestion="block", publish_timeout=0.3 if way == "time-out" else 20.0)
    async with (
        Broker(path) as broker,
        EventBus.from_broker(broker, config=config) as bus,
        EventBus.from_broker(broker) as other,
        other.subscribe("events.#", queue_messages=2, overflow="block") as events,
    ):
        await bus.publish(process(0))
        await bus.publish(process(1))
        waiting = await start_publishing(bus, *map(process, (2, 3, 4)))
        if way == "time-out":
            for task in waiting:
                with pytest.raises(PublishTimeout) as given_up:
                    await task
                assert given_up.value.accepted == 0
            left = []
        else:
            leaver = 0 if gives_up == "first" else 1
            waiting[leaver].cancel()
            with pytest.raises(asyncio.CancelledError) as cancelled:
                await waiting[leaver]
            assert cancelled.value.accepted == 0
            left = [number for number in (2, 3, 4) if number != leaver + 2]
        assert pids(await collect(events, 2 + len(left))) == [0, 1, *left]
        await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.wait_for(bus.publish(process(9)), 2)
        assert pids(await collect(events, 1)) == [9]


async def test_shutdown_ends_waiting_publishes(path):
    async with (
        Broker(path) as broker,
        EventBus.from_broker(broker) as other,
        other.subscribe("events.#", queue_messages=2, overflow="block"),
    ):
        bus = await EventBus.from_broker(broker, config=ClientConfig(congestion="block"))
        waiting = await start_publishing(bus, *map(process, range(6)))
        await bus.shutdown()
        await eventually(lambda: all(task.done() for task in waiting), what="tasks")
        ends = [type(task.exception()).__name__ for task in waiting]
        assert ends == ["NoneType"] * 2 + ["ConnectionClosed"] * 4


async def test_shutdown_ends_publish_many(path):
    """A `publish_many` that had yielded when the bus was shut down, while others still waited for room."""
    ends: list[BaseException] = []

    async def publish_one(bus: EventBus, event: ProcessEvent) -> None:
        while True:
            await bus.publish(event)

    async def publish_many(bus: EventBus, event: ProcessEvent) -> None:
        while True:
            await bus.publish_many([event] * 1000)

    async with Broker(path):
        for _ in range(15):
            config = ClientConfig(send_buffer_bytes=4096, pool=False)
            bus, event = await EventBus.connect(path, config=config), process(1, "x" * 500)
            calls = [publish(bus, event) for publish in (*[publish_one] * 4, *[publish_many] * 6)]
            publishing = asyncio.gather(*calls, return_exceptions=True)
            await asyncio.sleep(0.02)
            await bus.shutdown()
            ends += await publishing
    assert [end for end in ends if not isinstance(end, ConnectionClosed)] == []
    assert len(ends) == 150


async def test_an_invalid_event_that_waited_raises_at_its_own_caller(path):
    """An event is checked when it is its turn; those behind it are still published."""
    async with (
        Broker(path) as broker,
        EventBus.from_broker(broker, config=ClientConfig(congestion="block")) as bus,
        EventBus.from_broker(broker) as other,
        other.subscribe("events.#", queue_messages=1, overflow="block") as events,
    ):
        await bus.publish(process(0))
        waiting = await start_publishing(bus, process(1))
        waiting.append(asyncio.create_task(bus.publish(process(2), topic="events..x")))
        waiting += await start_publishing(bus, process(3))
        assert pids(await collect(events, 3)) == [0, 1, 3]
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(end).__name__ for end in ends] == ["NoneType", "TopicError", "NoneType"]
        assert ends[1].accepted == 0


async def test_a_publish_cancelled_in_its_turn_says_that_it_was_published(path):
    async with (
        Broker(path) as broker,
        EventBus.from_broker(broker, config=ClientConfig(congestion="block")) as bus,
        EventBus.from_broker(broker) as other,
        other.subscribe("events.#", queue_messages=1, overflow="block") as events,
    ):
        told = []
        for number in range(0, 60, 2):
            await bus.publish(process(number))
            (waiting,) = await start_publishing(bus, process(number + 1))
            got = pids([await events.get(5)])
            # One turn more each time: before, in and behind the turn in which there is room.
            for _ in range(number // 2 % 6):
                await asyncio.sleep(0)
            waiting.cancel()
            try:
                await waiting
                accepted, ended = 1, True
            except asyncio.CancelledError as error:
                accepted, ended = error.accepted, False
            told.append((accepted, ended))
            if accepted:
                got += pids([await events.get(5)])
            assert got == [number, number + 1][: 1 + accepted]
            assert take_all(events) == []
        assert {(0, False), (1, True)} <= set(told)


async def test_many_waiting_publishes_need_no_turn_for_each(path):
    """Fifty tasks that wait again and again; with a turn of the loop for each event it took several times as long."""
    async with (
        Broker(path) as broker,
        EventBus.from_broker(broker, config=ClientConfig(congestion="block")) as bus,
        bus.subscribe("events.#", queue_messages=1000, overflow="block") as events,
    ):
        loop, turns = asyncio.get_running_loop(), 0

        def turn():
            nonlocal turns
            turns += 1
            again.append(loop.call_soon(turn))

        again = [loop.call_soon(turn)]

        async def publish(first):
            for number in range(200):
                await bus.publish(process(first + number))

        tasks = [asyncio.create_task(publish(1000 * task)) for task in range(50)]
        got = pids(await collect(events, 10_000))
        again[-1].cancel()
        await asyncio.gather(*tasks)
        for task in range(50):
            assert [number for number in got if number // 1000 == task] == [1000 * task + i for i in range(200)]
        assert turns < 5_000


async def test_publish_nowait_does_not_overtake_waiting_publishes(path, program):
    """A small event once took the room that a large one before it waited for."""
    broker = program("broker.py", path)
    await broker.answer()
    config = ClientConfig(pool=False, congestion="block", send_buffer_bytes=65_536)
    async with EventBus.connect(path, config=config) as bus, bus.subscribe("events.#") as events:
        broker.freeze()
        before, full = await fill(bus), 0
        # Until what the kernel takes from the loop makes no room any more.
        while full != before:
            await asyncio.sleep(0.05)
            full, before = before, await fill(bus, before)
        waiting = await start_publishing(bus, process(before, "x" * LARGE))
        with pytest.raises(WouldBlock):
            bus.publish_nowait(process(before + 1))
        broker.thaw()
        await asyncio.gather(*waiting)
        assert pids(await collect(events, before + 1)) == list(range(before + 1))
        bus.publish_nowait(process(before + 1))
        assert pids(await collect(events, 1)) == [before + 1]
    broker.finish()


def test_publishes_that_waited_in_a_closed_loop_do_not_stop_publish_nowait(path, program):
    """`publish_nowait` works without the loop; it once raised `WouldBlock` for ever, whatever room there was."""
    broker = program("broker.py", path)
    broker.json()
    loop = asyncio.new_event_loop()

    async def leave():
        bus = await EventBus.connect(path, config=ClientConfig(pool=False, send_buffer_bytes=65_536))
        broker.freeze()
        full, before = -1, 0
        while full != before:
            await asyncio.sleep(0.05)
            full, before = before, await fill(bus, before)
        return bus, await start_publishing(bus, process(before, "x" * LARGE))

    left = list(loop.run_until_complete(leave()))
    assert not any(task.done() for task in left[1])
    loop.close()
    broker.thaw()

    async def publish():
        async with EventBus.connect(path) as other, other.subscribe("events.#") as events:

            def is_published():
                try:
                    left[0].publish_nowait(process(7))
                except WouldBlock:
                    return False
                return True

            await eventually(is_published, what="room")
            while pids(await collect(events, 1)) != [7]:
                pass

    asyncio.run(publish())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        left.clear()
        gc.collect()
    broker.finish()


async def test_publish_nowait_leaves_no_gap_in_sequence(path):
    """When a waiting publish gives up: from this and another thread, also if other readers have room."""
    config = ClientConfig(congestion="block", publish_timeout=0.3)
    load = PerformanceEvent("load", 1.0, "n")
    async with (
        Broker(path) as broker,
        EventBus.from_broker(broker, config=config) as bus,
        EventBus.from_broker(broker) as other,
        other.subscribe("events.process.*", queue_messages=1, overflow="block"),
        other.subscribe("events.performance.*") as free,
    ):
        await bus.publish(process(0))
        (waiting,) = await start_publishing(bus, process(1))
        with pytest.raises(WouldBlock):
            bus.publish_nowait(load)
        with pytest.raises(WouldBlock):
            await asyncio.to_thread(bus.publish_nowait, load)
        with pytest.raises(PublishTimeout):
            await waiting
        bus.publish_nowait(load)
        assert (await free.get(5)).sequence == 1


def test_a_publish_from_another_loop_that_would_wait_says_whether_it_was_published(path):
    """Some readers had the event, and the error did not say so."""
    own, other = asyncio.new_event_loop(), asyncio.new_event_loop()

    async def prepare():
        broker = Broker(path)
        await broker.start()
        bus = await EventBus.from_broker(broker, config=ClientConfig(congestion="block"))
        full = await bus.subscribe("events.#", queue_messages=1, overflow="block")
        return broker, bus, full, await bus.subscribe("events.#")

    async def publish():
        await bus.publish(process(0))
        with pytest.raises(WrongLoop) as refused:
            await bus.publish(process(1))
        return refused.value.accepted

    async def finish():
        assert pids(await collect(full, 1)) == [0]
        assert pids(await collect(roomy, 2)) == [0, 1]
        assert full.dropped == 1
        await bus.shutdown()
        await broker.shutdown()

    broker, bus, full, roomy = own.run_until_complete(prepare())
    assert other.run_until_complete(publish()) == 1
    own.run_until_complete(finish())
    own.close()
    other.close()
