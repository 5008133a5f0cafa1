"""What a subscription has not got when it ends: in its queue, on the way there, in the kernel and at the broker."""

import sys
import time

import pytest

from daemoneye_eventbus import Broker, BrokerConfig, ClientConfig, ConnectionLost, EventBus
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
