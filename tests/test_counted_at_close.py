"""What a subscription has not got when it ends: in its queue, on the way there, in the kernel and at the broker."""

import gc
import sys
import time
from contextlib import AsyncExitStack

import pytest

from daemoneye_eventbus import (
    Broker,
    BrokerConfig,
    ClientConfig,
    ConnectionLost,
    EventBus,
    SubscriptionClosed,
)
from support import eventually, pids, process

SOLO = ClientConfig(pool=False)
KEEPS_FOR_WHO_STOPS = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere the kernel does not keep what it has for one who stops"
)


async def publish_all(bus, numbers, size):
    for number in numbers:
        await bus.publish(process(number, executable_path="x" * size))
    await bus.flush()


@pytest.mark.parametrize("way", ["close", "unsubscribe", "shutdown", "drain"])
@pytest.mark.parametrize("overflow", ["drop_oldest", "block"])
@pytest.mark.parametrize("size", [100, 50_000])
async def test_all_that_matched_was_handed_over_or_lost(path, way, overflow, size):
    """Of a full subscription that blocks it was not: it never heard what the broker had dropped, and still had."""
    async with (
        Broker(path, config=BrokerConfig(queue_messages=200)) as broker,
        EventBus.connect(path, config=SOLO) as reader,
        EventBus.connect(path, config=SOLO) as writer,
    ):
        events = await reader.subscribe("events.#", queue_messages=10, overflow=overflow)
        await publish_all(writer, range(4000 if size == 100 else 500), size)
        matched = broker.statistics().messages_published
        taken = len(await events.get_many(5))
        if way == "close":
            await events.close()
        elif way == "unsubscribe":
            await reader.unsubscribe(events.subscriber_id)
        elif way == "shutdown":
            await reader.shutdown()
        else:
            with pytest.raises(TimeoutError):
                await reader.drain(0.2)
        mine = reader.local_statistics()
        assert taken + events.dropped == matched
        assert (mine["delivered"], sum(mine["dropped"].values())) == (taken, events.dropped)
        theirs = broker.statistics()
        assert (theirs.queued_messages, theirs.dropped.get("overflow", 0)) == (0, mine["dropped"].get("broker", 0))
        assert theirs.messages_delivered + sum(theirs.dropped.values()) == matched
        await eventually(lambda: len(broker.clients()) == (1 if reader.state == "closed" else 2))


@KEEPS_FOR_WHO_STOPS
@pytest.mark.parametrize("size", [100, 50_000])
@pytest.mark.parametrize("taken", [0, 5])
async def test_what_a_reader_that_blocks_leaves_behind_is_counted(path, taken, size):
    """Also where it does not wait for its broker; what that still had counts there alone."""
    async with (
        Broker(path) as broker,
        EventBus.connect(path, config=SOLO) as reader,
        EventBus.connect(path, config=SOLO) as writer,
    ):
        events = await reader.subscribe("events.#", queue_messages=10, overflow="block")
        await publish_all(writer, range(500), size)
        got = [await events.get() for _ in range(taken)]
        await eventually(lambda: events.pending >= 10, what="its queue full")
        with pytest.raises(TimeoutError):
            await reader.drain(0)
        await eventually(lambda: len(broker.clients()) == 1, what="its connections gone")
        mine, theirs = reader.local_statistics(), broker.statistics()
        assert pids(got) == list(range(taken))
        assert mine["delivered"] == taken
        assert sum(theirs.dropped.values()) + theirs.messages_delivered == 500
        assert mine["delivered"] + mine["dropped"]["closed"] == theirs.messages_delivered
        # What was lost there before it was closed, it had been told.
        assert mine["dropped"].keys() <= {"closed", "broker"}
        assert mine["dropped"].get("broker", 0) <= theirs.dropped.get("overflow", 0)
        # It had not broken.
        assert theirs.dropped.keys() <= {"closed", "overflow"}
        assert theirs.dropped.get("closed", 0) > 0 or size == 100
        assert events.dropped == sum(mine["dropped"].values())


@KEEPS_FOR_WHO_STOPS
async def test_what_the_kernel_has_at_a_drain_without_time_is_counted(path):
    """It was closed unread, and nobody knew of it: the broker had delivered it."""
    async with Broker(path) as broker, EventBus.from_broker(broker) as writer:
        for _ in range(10):
            before = broker.statistics()
            reader = await EventBus.connect(path, config=SOLO)
            events = await reader.subscribe("events.#")
            for number in range(100):
                writer.publish_nowait(process(number, executable_path="x" * 50_000))
            # The loop reads nothing meanwhile.
            while broker.statistics().messages_delivered == before.messages_delivered:
                time.sleep(0.001)
            with pytest.raises(TimeoutError):
                await reader.drain(0)
            await eventually(lambda: len(broker.clients()) == 1, what="its connection gone")
            now = broker.statistics()
            assert events.dropped == now.messages_delivered - before.messages_delivered
            assert reader.local_statistics()["dropped"] == {"closed": events.dropped}


@KEEPS_FOR_WHO_STOPS
async def test_a_broker_that_stands_still_is_waited_for_within_bounds(path, program, caplog):
    """Then what the kernel has is counted all the same."""
    broker = program("broker.py", path)
    broker.json()
    async with (
        EventBus.connect(path, config=SOLO) as reader,
        EventBus.connect(path, config=SOLO) as writer,
    ):
        events = await reader.subscribe("events.#", queue_messages=10, overflow="block")
        await publish_all(writer, range(500), 10_000)
        broker.freeze()
        begin = time.monotonic()
        await events.close()
        assert 1.5 < time.monotonic() - begin < 4
        assert events.subscriber_id in caplog.text
        assert 10 < events.dropped < 500
        broker.thaw()
    broker.finish()


async def test_who_is_told_that_it_was_cut_matches_nothing_more(path):
    """In process it went on matching, and losing, until it was closed."""
    config = ClientConfig(broker_overflow="disconnect")
    async with (
        Broker(path) as broker,
        EventBus.from_broker(broker, config=config) as reader,
        EventBus.from_broker(broker) as writer,
    ):
        for read in ("get", "get_many"):
            before = broker.statistics().dropped.get("overflow", 0)
            events = await reader.subscribe("events.#", queue_messages=2, overflow="block")
            await publish_all(writer, range(5), 10)
            assert broker.statistics().active_subscribers == 1, "nobody has told it yet"
            assert pids(await events.get_many(10)) == [0, 1]
            for _ in range(2):
                with pytest.raises(ConnectionLost, match="disconnect"):
                    await (events.get() if read == "get" else events.get_many(10))
            assert (broker.statistics().active_subscribers, broker.statistics().active_topics) == (0, 0)
            await publish_all(writer, range(100), 10)
            assert (events.dropped, events.pending) == (3, 0)
            assert broker.statistics().dropped["overflow"] - before == 3
            await events.close()
            assert events.dropped == 3


@pytest.fixture(params=["broker gone", "disconnected", "own connection disconnected", "refused again"])
async def lost(request, path):
    """A bus, and a subscription with three messages to which nothing more can come."""
    config = ClientConfig(pool=False, reconnect=request.param != "broker gone")
    overflow = "block" if request.param.startswith("own") else "drop_oldest"
    async with AsyncExitStack() as running:
        broker = await running.enter_async_context(Broker(path))
        bus = await running.enter_async_context(EventBus.connect(path, config=config))
        others = {client.id for client in broker.clients()}
        events = await bus.subscribe("events.#", "health.#", overflow=overflow)
        await publish_all(bus, range(3), 10)
        await eventually(lambda: events.pending == 3, what="what is queued")
        if request.param == "broker gone":
            await broker.shutdown()
            await eventually(lambda: bus.state == "closed", what="its bus")
        elif request.param == "refused again":
            await broker.shutdown()
            await running.enter_async_context(Broker(path, config=BrokerConfig(max_patterns_per_client=1)))
            await eventually(lambda: bus.local_statistics()["reconnects"] == 1, what="the reconnects")
        else:
            for client in broker.clients():
                if overflow != "block" or client.id not in others:
                    broker.disconnect_client(client.id)
            await eventually(lambda: len(broker.clients()) == (overflow == "block"), what="its connections")
            await eventually(lambda: overflow == "block" or bus.state == "closed", what="its bus")
        yield bus, events


@pytest.mark.parametrize("way", ["close", "unsubscribe", "leave", "shutdown", "drain"])
async def test_what_is_closed_after_it_was_lost_for_good_is_closed(lost, way):
    """It could be read on for ever, and what it had was counted nowhere."""
    bus, events = lost
    assert pids([await events.get()]) == [0], "what came before stays readable until it is closed"
    if way == "close":
        await events.close()
    elif way == "unsubscribe":
        await bus.unsubscribe(events.subscriber_id)
    elif way == "leave":
        async with events:
            pass
    elif way == "shutdown":
        await bus.shutdown()
    else:
        with pytest.raises((ConnectionLost, TimeoutError)):
            await bus.drain(0.1)
    for read in (events.get, events.get_nowait, lambda: events.get_many(5)):
        with pytest.raises(SubscriptionClosed):
            await read()
    assert [message async for message in events] == []
    assert (events.pending, events.dropped) == (0, 2)
    counted = bus.local_statistics()
    assert (counted["delivered"], counted["dropped"]) == (1, {"closed": 2})


async def test_what_is_forgotten_after_it_was_lost_for_good_is_counted(path):
    async with Broker(path) as broker, EventBus.connect(path, config=SOLO) as bus:
        held = [await bus.subscribe("events.#")]
        await publish_all(bus, range(3), 10)
        await eventually(lambda: held[0].pending == 3, what="what is queued")
        broker.disconnect_client(broker.clients()[0].id)
        await eventually(lambda: bus.state == "closed", what="its bus")
        with pytest.warns(ResourceWarning, match="was forgotten"):
            held.clear()
            gc.collect()
        assert bus.local_statistics()["dropped"] == {"closed": 3}
