"""What a call that is given so many seconds says when they are over: which call, how long, and what to do."""

from __future__ import annotations

import asyncio
import time

import pytest

from daemoneye_eventbus import ClientConfig, EventBus
from interrupter import Interrupter
from support import Pair, eventually, open_bus, process


async def test_a_reader_whose_time_is_over(kind, broker, path):
    bus = await open_bus(kind, broker, path)
    async with bus, bus.subscribe("events.#") as events:
        for call, text in (
            (lambda: events.get(timeout=0.02), "get: no message came within 0.02 s; call it again to wait on"),
            (lambda: events.get(0), "get: no message came within 0 s; call it again to wait on"),
            (lambda: events.get(-1), "get: no message came within 0 s; call it again to wait on"),
            (lambda: events.get_many(5, 0.02), "get_many: no message came within 0.02 s; call it again to wait on"),
        ):
            begin = time.monotonic()
            with pytest.raises(TimeoutError) as caught:
                await call()
            assert str(caught.value) == text
            assert time.monotonic() - begin < 1
            assert caught.value.__suppress_context__, "and no more than that"
        await bus.publish(process(1))
        assert (await events.get(5)).event == process(1), "as advised"


async def test_a_flush_and_a_drain_that_the_broker_does_not_confirm(path, program):
    broker = program("broker.py", path)
    await broker.answer()
    bus = await EventBus.connect(path, config=ClientConfig(pool=False))
    broker.freeze()
    await bus.publish(process(1))
    for call, state in ((bus.flush, "connected"), (bus.drain, "connected")):
        start = time.monotonic()
        with pytest.raises(TimeoutError) as caught:
            await call(0.02)
        assert time.monotonic() - start < 1, "a broker that does not answer is not waited for once more"
        said = str(caught.value)
        begin = f"{call.__name__}: no confirmation came from the broker (the bus is {state}) within 0.02 s; "
        assert said.startswith(begin), said
        assert said.endswith("give more time")
    assert bus.state == "closed"
    broker.thaw()
    broker.finish()


async def test_a_drain_that_is_cancelled_ends_at_once(path, program):
    broker = program("broker.py", path)
    await broker.answer()
    bus = await EventBus.connect(path, config=ClientConfig(pool=False))
    broker.freeze()
    draining = asyncio.create_task(bus.drain())
    await asyncio.sleep(0.02)
    start = time.monotonic()
    draining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await draining
    assert time.monotonic() - start < 1
    assert bus.state == "closed"
    broker.thaw()
    broker.finish()


async def test_a_flush_of_a_bus_that_is_reconnecting(path, program):
    broker = program("broker.py", path)
    await broker.answer()
    async with EventBus.connect(path, config=ClientConfig(pool=False)) as bus:
        changes = bus.state_changes()
        broker.kill()
        assert await anext(changes) == "reconnecting"
        await changes.aclose()
        with pytest.raises(TimeoutError, match=r"^flush: .*\(the bus is reconnecting\) within 0\.02 s; "):
            await bus.flush(0.02)


async def test_a_drain_whose_readers_do_not_read(kind, broker, path):
    bus = await open_bus(kind, broker, path)
    events = await bus.subscribe("events.#")
    for number in range(3):
        await bus.publish(process(number))
    with pytest.raises(TimeoutError) as caught:
        await bus.drain(0.2)
    assert str(caught.value) == (
        "drain: readers had not taken 3 messages within 0.2 s; "
        "the bus is closed; read or close the subscriptions before, or give more time"
    )
    await events.close()


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "block"])
async def test_a_drain_while_others_go_on_publishing(pair: Pair, overflow):
    """Readers that had taken all that was queued, and much more, were said not to have."""
    bus = await open_bus(pair.kind, pair.broker, pair.path)
    events = await bus.subscribe("events.#", overflow=overflow)
    await bus.publish_many(process(number) for number in range(500))
    await eventually(lambda: events.pending == 500, what="all are queued")
    seen = []

    async def read():
        async for item in events:
            seen.append(item.event.pid)
            await pair.pub.publish(process(1000))
            await asyncio.sleep(0)

    reader = asyncio.create_task(read())
    await bus.drain(10)
    await asyncio.wait_for(reader, 5)
    assert seen[:500] == list(range(500))
    assert events.dropped == bus.local_statistics()["dropped"].get("closed", 0)


def raising_at(error, place):
    """Has a signal's handler raise ``error`` where the interpreter next enters the function ``place``."""
    return Interrupter(1, lambda frame, event, _argument: event == "call" and frame.f_code.co_name == place, error)


@pytest.mark.parametrize(
    ("call", "place"),
    [
        (lambda _bus, events: events.get(timeout=60), "wait"),
        (lambda _bus, events: events.get_many(1, 60), "wait"),
        (lambda _bus, events: events.close(), "last_flush"),
        (lambda bus, _events: bus.shutdown(), "last_flush"),
    ],
    ids=["get", "get_many", "close", "shutdown"],
)
async def test_a_timeout_that_is_not_its_own_passes_through(broker, path, call, place):
    """What a signal's handler raised was taken for the end of the time that the call has."""
    mine = TimeoutError("of a handler")
    bus = await EventBus.connect(path)
    events = await bus.subscribe("events.#")
    with pytest.raises(TimeoutError) as caught, raising_at(mine, place):
        await call(bus, events)
    assert caught.value is mine
    await bus.shutdown()
    assert bus.state == "closed"


async def test_a_timeout_that_is_not_the_publishers_own_passes_through(broker, path):
    mine = TimeoutError("of a handler")
    config = ClientConfig(congestion="block", publish_timeout=60)
    async with EventBus.from_broker(broker, config=config) as bus:
        async with bus.subscribe("events.#", queue_messages=1, overflow="block") as events:
            await bus.publish(process(0))
            publishing = asyncio.create_task(bus.publish(process(1)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            with raising_at(mine, "result"):
                assert (await events.get()).event.pid == 0
                with pytest.raises(TimeoutError) as caught:
                    await publishing
            assert caught.value is mine
            assert caught.value.accepted == 1
