"""What a call that is given so many seconds says when they are over: which call, how long, and what to do."""

from __future__ import annotations

import asyncio
import time

import pytest

from daemoneye_eventbus import ClientConfig, EventBus
from support import open_bus, process


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
