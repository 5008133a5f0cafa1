"""The raw slots: the same answers as the methods and constructors they stand in for, no leaks, no crash."""

import asyncio
import gc
import sys
from pathlib import Path

import pytest

from daemoneye_eventbus import (
    Broker,
    BusEvent,
    ClientConfig,
    CorrelationMetadata,
    EventBus,
    FilesystemEvent,
    NetworkEvent,
    PerformanceEvent,
    ProcessEvent,
    TriggerRequest,
)

CLASSES = [
    (ProcessEvent, {"pid": 1, "name": "n"}),
    (NetworkEvent, {"connection_id": "c", "source_address": "s", "destination_address": "d", "protocol": "p"}),
    (FilesystemEvent, {"path": "/p", "event_type": "create"}),
    (PerformanceEvent, {"metric_name": "m", "value": 1.0, "unit": "%"}),
    (TriggerRequest, {"request_id": "r", "collector_type": "c"}),
    (CorrelationMetadata, {"correlation_id": "i", "created_at": None}),
]
EVENT = ProcessEvent(pid=1, name="n")


def by_new(cls, *args, **kwargs):
    return cls.__new__(cls, *args, **kwargs)


@pytest.mark.parametrize(("cls", "given"), CLASSES)
def test_every_way_to_name_the_arguments_makes_the_same(cls, given):
    if cls is CorrelationMetadata:
        given = {**given, "created_at": CorrelationMetadata("x").created_at}
    expected = by_new(cls, **given)
    backwards = dict(reversed(given.items()))
    # Names that are equal and not identical, as a decoder makes them.
    foreign = {"".join(list(name)): value for name, value in given.items()}
    assert cls(**given) == cls(**backwards) == cls(**foreign) == expected
    if cls is not CorrelationMetadata:
        values = list(given.values())
        assert cls(*values) == expected
        first, *rest = given
        assert cls(given[first], **{name: given[name] for name in rest}) == expected


@pytest.mark.parametrize(("cls", "given"), CLASSES)
def test_wrong_calls_are_refused_in_the_same_words(cls, given):
    first = next(iter(given))
    wrong = [
        ((), {}),
        ((), {**given, "nonsense": 1}),
        ((), {**given, "na\udcffme": 1}),
        ((given[first],), given),
        ((1,) * 20, {}),
        ((1,) * 20, {"nonsense": 1}),
        ((), {first: object()}),
    ]
    for args, kwargs in wrong:
        with pytest.raises((TypeError, ValueError)) as slot:
            cls(*args, **kwargs)
        with pytest.raises((TypeError, ValueError)) as method:
            by_new(cls, *args, **kwargs)
        assert (slot.type, str(slot.value)) == (method.type, str(method.value))


@pytest.mark.skipif(sys.platform == "win32", reason="the most that was resident is not told there")
def test_construction_leaks_nothing(program):
    child = program("constructing.py")
    left = child.json()
    child.finish()
    assert all(abs(count) < 10 for count in left["references"]), left
    assert left["memory"] < 8 * 1024


def test_events_do_not_occupy_the_collector():
    events = [cls(**given) for cls, given in CLASSES if cls is not CorrelationMetadata]
    assert not any(gc.is_tracked(event) for event in events)


def by_hand(operation):
    """The result of an operation that can finish at once, as a caller who is no interpreter gets it."""
    try:
        while operation.send(None) is None:
            pass  # it gives the loop a turn first
    except StopIteration as stopped:
        return stopped.value
    return pytest.fail("suspended")


async def _pair(folder: Path):
    broker = Broker(folder / "b.sock")
    await broker.start()
    bus = await EventBus.connect(folder / "b.sock", config=ClientConfig(congestion="block"))
    return broker, bus


async def test_an_operation_answers_to_every_kind_of_caller(folder):
    broker, bus = await _pair(folder)
    try:
        async with bus.subscribe("events.process.*") as events:
            # The interpreter's await, a task, gather, wait_for, and by hand.
            assert await bus.publish(EVENT) is None
            await asyncio.create_task(bus.publish(EVENT))
            await asyncio.gather(bus.publish(EVENT), bus.publish(EVENT))
            await asyncio.wait_for(bus.publish(EVENT), 5)
            assert by_hand(bus.publish(EVENT)) is None
            assert list(bus.publish(EVENT).__await__()) in ([], [None])
            got = [await asyncio.wait_for(events.get(), 5) for _ in range(7)]
            assert all(isinstance(one, BusEvent) and one.event == EVENT for one in got)
            assert not any(gc.is_tracked(one) or gc.is_tracked(one.event) for one in got)

            # Suspended, then given its result through the coroutine it became.
            waiting = asyncio.ensure_future(events.get())
            await asyncio.sleep(0.01)
            await bus.publish(EVENT)
            assert (await asyncio.wait_for(waiting, 5)).event == EVENT
            # Suspended, then cancelled; nothing is lost.
            waiting = asyncio.ensure_future(events.get())
            await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await bus.publish(EVENT)
            # A value that is more than None, by hand where the methods are asked.
            await bus.flush()
            while not events.pending:  # nothing else tells
                await asyncio.sleep(0.001)
            assert by_hand(events.get()).event == EVENT
    finally:
        await bus.shutdown()
        await broker.shutdown()


async def test_an_operation_ends_once(folder):
    broker, bus = await _pair(folder)
    try:
        done = bus.publish(EVENT)
        await done
        with pytest.raises(RuntimeError, match="awaited already"):
            await done
        thrown = bus.publish(EVENT)
        with pytest.raises(KeyError, match="mine"):
            thrown.throw(KeyError("mine"))
        closed = bus.publish(EVENT)
        closed.close()
        closed.close()
        with pytest.raises(TypeError, match="ProcessEvent"):
            await bus.publish(object())
    finally:
        await bus.shutdown()
        await broker.shutdown()


async def test_publishing_and_reading_leak_nothing(folder):
    broker, bus = await _pair(folder)
    correlation = "a correlation"
    try:
        async with bus.subscribe("events.process.*", overflow="block") as events:

            async def many(count):
                for _ in range(count):
                    await bus.publish(EVENT, correlation)
                    (await events.get()).event.name  # is read

            await many(100)
            held = [EVENT, correlation, None, bus, events, BusEvent, ProcessEvent]
            # What others left may hold any of these, and is collected at any time.
            gc.collect()
            before = [sys.getrefcount(thing) for thing in held]
            await many(2000)
            gc.collect()
            after = [sys.getrefcount(thing) for thing in held]
            assert all(abs(a - b) < 10 for a, b in zip(after, before, strict=True) if b < 1 << 30)
    finally:
        await bus.shutdown()
        await broker.shutdown()
