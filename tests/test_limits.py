"""Limits: the last value that passes, the first that does not, and who hears of it."""

import asyncio
import contextlib
import os
import struct
import time

import psutil
import pytest

import raw as wire
from daemoneye_eventbus import (
    Broker,
    BrokerConfig,
    ClientConfig,
    EventBus,
    EventFilter,
    EventSubscription,
    FrameTooLarge,
    PatternError,
    SubscriptionRefused,
)
from support import Pair, collect, eventually, make_pair, pids, process

MIB = 1 << 20
SOLO = {"pool": False}


async def size_of(pair: Pair, **fields) -> int:
    """Size of the frame of this event: what FrameTooLarge says when it is far too large."""
    with pytest.raises(FrameTooLarge) as caught:
        await pair.pub.publish(process(1, command_line="x" * (2 * MIB), **fields), "c-1")
    assert caught.value.limit == MIB
    assert str(MIB) in str(caught.value)
    assert str(caught.value.size) in str(caught.value)
    return caught.value.size


async def test_exactly_the_limit_passes_one_above_is_refused_at_the_caller(pair: Pair):
    largest = 2 * MIB - (await size_of(pair) - MIB)
    async with pair.sub.subscribe("events.#", queue_bytes=4 * MIB) as events:
        for _ in range(2):
            await pair.pub.publish(process(1, command_line="x" * largest), "c-1")
            with pytest.raises(FrameTooLarge) as caught:
                await pair.pub.publish(process(2, command_line="x" * (largest + 1)), "c-1")
            assert (caught.value.size, caught.value.limit) == (MIB + 1, MIB)
            with pytest.raises(FrameTooLarge):
                pair.pub.publish_nowait(process(2, command_line="x" * (largest + 1)), "c-1")
        await pair.pub.publish(process(3), "c-1")
        got = await collect(events, 3)
        assert pids(got) == [1, 1, 3], "the connection stays usable"
        assert len(got[0].event.command_line) == largest
        assert pair.pub.local_statistics()["published"] == 3


async def test_the_size_said_is_the_size_on_the_wire(broker, path, raw):
    """FrameTooLarge's arithmetic, held against a frame that really crossed."""
    peer = raw(path)
    peer.connect()
    peer.subscribe(1, "events.#")
    async with EventBus.connect(path, config=ClientConfig(max_frame=4096, **SOLO)) as bus:
        event = process(70_000, command_line="x" * 3000, metadata={"k": "v" * 300})
        await bus.publish(event, "c-1")
        body = peer.receive()
        bigger = process(70_000, command_line="x" * (3000 + 4096 - len(body)), metadata={"k": "v" * 300})
        await bus.publish(bigger, "c-1")
        assert len(peer.receive()) == 4096
        longer = process(70_000, command_line="x" * (3001 + 4096 - len(body)), metadata={"k": "v" * 300})
        with pytest.raises(FrameTooLarge) as caught:
            await bus.publish(longer, "c-1")
        assert (caught.value.size, caught.value.limit) == (4097, 4096)


async def test_control_payload_at_the_limit(pair: Pair):
    async with pair.sub.subscribe("control.#", include_control=True) as events:
        with pytest.raises(FrameTooLarge) as caught:
            await pair.pub.publish_control("control.x", b"x" * (2 * MIB), "c")
        largest = 2 * MIB - (caught.value.size - MIB)
        await pair.pub.publish_control("control.x", b"x" * largest, "c")
        (message,) = await collect(events, 1)
        assert len(message.payload) == largest


async def test_the_smaller_limit_of_both_sides_holds(path):
    async with Broker(path, config=BrokerConfig(max_frame=10_000)):
        async with EventBus.connect(path, config=ClientConfig(**SOLO)) as bus:
            with pytest.raises(FrameTooLarge) as caught:
                await bus.publish(process(1, command_line="x" * 20_000))
            assert caught.value.limit == 10_000


async def test_a_frame_above_the_readers_limit_is_dropped_for_him_alone(broker, path):
    small = await EventBus.connect(path, config=ClientConfig(max_frame=5000, **SOLO))
    large = await EventBus.connect(path, config=ClientConfig(**SOLO))
    async with small.subscribe("events.#") as little, large.subscribe("events.#") as all_of_it:
        for number in range(3):
            await large.publish(process(number, command_line="x" * (8000 if number == 1 else 0)))
        assert pids(await collect(all_of_it, 3)) == [0, 1, 2]
        got = await collect(little, 2)
        assert [(i.event.pid, i.dropped_before) for i in got] == [(0, 0), (2, 1)]
        assert little.dropped == 1
    await small.shutdown()
    await large.shutdown()


@pytest.mark.parametrize("size", [0, MIB + 1, 1 << 31, (1 << 32) - 1])
async def test_a_bad_prefix_costs_the_connection_and_no_memory(broker, path, raw, size):
    before = psutil.Process().memory_info().rss
    for connected in (False, True):
        for _ in range(50):
            peer = raw(path)
            if connected:
                peer.connect()
            peer.write(struct.pack("<I", size))
            said = peer.closed()
            assert said is None or said["code"]
            if connected:
                assert said is not None, "one ERR if possible"
            peer.close()
    assert psutil.Process().memory_info().rss - before < 16 * MIB
    await eventually(lambda: broker.clients() == [], what="clients")


async def test_the_largest_frame_by_hand(broker, path, raw):
    peer = raw(path)
    peer.connect()
    peer.subscribe(1, "events.#")
    frame = wire.process_message(1)
    filler = MIB - len(frame) - 8
    event = wire.process_event(1, metadata={"k": "x" * filler})
    frame = wire.Message("events.process.new", event).encode()
    while len(frame) != MIB:
        filler -= len(frame) - MIB
        event = wire.process_event(1, metadata={"k": "x" * filler})
        frame = wire.Message("events.process.new", event).encode()
    peer.send(frame)
    assert peer.receive() == frame, "whole, and byte for byte"
    assert peer.barrier() == []


async def test_max_connections(path, raw):
    # Whoever had to wait to be told would have to wait for longer than `raw` does.
    async with Broker(path, config=BrokerConfig(max_connections=3, handshake_timeout=60.0)) as broker:
        kept = [raw(path) for _ in range(3)]
        for peer in kept:
            peer.connect()
        for _ in range(5):
            extra = raw(path)
            said = extra.closed()
            assert said is not None
            assert said["code"] == "busy"
        for peer in kept:
            assert peer.barrier() == []
        kept.pop().close()
        await eventually(lambda: len(broker.clients()) == 2, what="a free slot")
        newcomer = raw(path)
        newcomer.connect()


async def test_max_patterns_per_client(kind, path):
    async with make_pair(kind, path, broker={"max_patterns_per_client": 10}) as pair:
        first = await pair.sub.subscribe(*(f"events.p{n}.*" for n in range(6)))
        with pytest.raises(SubscriptionRefused) as caught:
            await pair.sub.subscribe(*(f"events.q{n}.*" for n in range(5)))
        assert "10" in str(caught.value)
        assert caught.value.limit == 10
        assert pair.broker.statistics().refused == {"subscription_refused": 1}
        second = await pair.sub.subscribe(*(f"events.q{n}.*" for n in range(4)))
        await first.close()
        async with pair.sub.subscribe(*(f"events.r{n}.*" for n in range(6))) as third:
            await pair.sub.publish(process(1), topic="events.r5.x")
            await pair.sub.publish(process(2), topic="events.q3.x")
            assert pids(await collect(third, 1)) == [1]
            assert pids(await collect(second, 1)) == [2]


async def test_max_filter_terms_over_all_of_a_client(kind, path):
    """A client is held to sixteen times what one subscription may have, in all; what it closes counts no more."""
    async with make_pair(kind, path, broker={"max_filter_terms": 3}) as pair:
        wide = EventFilter(pids=[1, 2, 3])
        held = [await pair.sub.subscribe("events.#", event_filter=wide) for _ in range(16)]
        with pytest.raises(SubscriptionRefused, match="48 terms") as caught:
            await pair.sub.subscribe("events.#", event_filter=EventFilter(pids=[1]))
        assert caught.value.limit == 48
        async with pair.sub.subscribe("events.#") as unfiltered:
            await held.pop().close()
            async with pair.sub.subscribe("events.#", event_filter=wide) as last:
                await pair.pub.publish(process(3))
                assert pids(await collect(last, 1)) == pids(await collect(unfiltered, 1)) == [3]


async def test_text_of_filters_over_all_of_a_client(kind, path):
    async with make_pair(kind, path) as pair:
        long = EventFilter(source_collectors=["x" * 50_000])
        held = [await pair.sub.subscribe("events.#", event_filter=long) for _ in range(20)]
        with pytest.raises(SubscriptionRefused, match="bytes of text") as caught:
            await pair.sub.subscribe("events.#", event_filter=long)
        assert caught.value.limit == MIB
        await held.pop().close()
        async with pair.sub.subscribe("events.#", event_filter=long):
            pass


async def test_a_subscription_of_more_text_than_a_frame_takes_is_refused(pair: Pair):
    """64 KiB for its name, patterns and filters, in the broker's process as over a socket; nothing of it stays."""
    whole = pair.broker.statistics().active_subscribers
    for more in (
        {"subscriber_id": "x" * 70_000, "topic_patterns": ["events.#"]},
        {"topic_patterns": ["events.#"], "event_filter": EventFilter(source_collectors=["x" * 120_000])},
        {"topic_patterns": [f"events.{'x' * 240}{n}" for n in range(300)]},
    ):
        with pytest.raises(SubscriptionRefused, match=r"bytes, and 65536 are the limit") as caught:
            await pair.sub.subscribe(EventSubscription(**({"subscriber_id": "s"} | more)))
        assert caught.value.limit == 65_536
        assert pair.broker.statistics().active_subscribers == whole
    most = EventFilter(source_collectors=["x" * 65_000])
    async with pair.sub.subscribe(EventSubscription("s", topic_patterns=["events.#"], event_filter=most)):
        pass


async def test_max_topic_depth(kind, path):
    from daemoneye_eventbus import TopicError

    async with make_pair(kind, path, broker={"max_topic_depth": 3}) as pair:
        async with pair.sub.subscribe("events.#") as events:
            await pair.pub.publish(process(1), topic="events.a.b")
            if kind == "inproc":
                with pytest.raises(TopicError):
                    await pair.pub.publish(process(2), topic="events.a.b.c")
            else:
                with contextlib.suppress(TopicError):
                    await pair.pub.publish(process(2), topic="events.a.b.c")
            await pair.pub.publish(process(3), topic="events.a.b")
            assert pids(await collect(events, 2)) == [1, 3]


@pytest.mark.parametrize(("limit", "levels"), [(3, 4), (3, 9), (9, 10)])
async def test_a_pattern_that_is_too_deep_is_told_the_brokers_limit(kind, path, limit, levels):
    pattern, deepest = ("events" + ".a" * (count - 1) for count in (levels, limit))
    async with make_pair(kind, path, broker={"max_topic_depth": limit}) as pair:
        for wish, filters in (
            (pattern, None),
            ("events.#", EventFilter(topic_filters=[pattern])),
        ):
            with pytest.raises(PatternError, match=rf"{levels} levels \(max {limit}\)"):
                await pair.sub.subscribe(wish, event_filter=filters)
        for overflow in ("drop_oldest", "block"):
            filters = EventFilter(topic_filters=[deepest])
            async with pair.sub.subscribe(deepest, event_filter=filters, overflow=overflow):
                pass


async def test_ten_thousand_patterns(broker, path):
    """Many wildcards must not make routing slow."""
    buses = [await EventBus.connect(path, config=ClientConfig(**SOLO)) for _ in range(10)]
    crowd = []
    for n, bus in enumerate(buses):
        crowd.append(await bus.subscribe(*(f"events.+.p{n}x{i}.#" for i in range(1000))))
    events = await buses[0].subscribe("events.#")
    # What all threads of the process compute: the broker's are among them, other programs are not.
    begin = time.process_time()
    for number in range(500):
        await buses[1].publish(process(number), topic=f"events.t{number}.p1x{number}.c.d.e.f")
    assert pids(await collect(events, 500)) == list(range(500))
    assert time.process_time() - begin < 2
    await asyncio.gather(*(bus.shutdown() for bus in buses))


@pytest.mark.limit(60)
async def test_total_queue_bytes_trims_the_largest_first(path, program):
    """Four megabytes for all: the stopped reader's queue gives way, the small one stays whole."""
    config = {"total_queue_bytes": 4 * MIB, "queue_bytes": 64 * MIB, "queue_messages": 1 << 20}
    async with Broker(path, config=BrokerConfig(**config)):
        big = program("subscriber.py", path, {"patterns": ["events.#"], "expect": 20_000})
        little = program("subscriber.py", path, {"patterns": ["health.#"], "expect": 100})
        await big.answer()
        await little.answer()
        big.freeze()
        little.freeze()
        async with EventBus.connect(path, config=ClientConfig(**SOLO)) as bus:
            for number in range(100):
                await bus.publish(process(number), topic="health.a")
            for number in range(20_000):
                await bus.publish(process(number, command_line="x" * 900))
            await bus.flush()
        big.thaw()
        little.thaw()
        lost = await big.answer()
        kept = await little.answer()
        assert (kept["received"], kept["dropped"]) == (100, 0)
        assert lost["received"] + lost["dropped"] == 20_000
        assert lost["misplaced"] == []
        assert 1000 < lost["received"] < 8000
        big.finish()
        little.finish()


@pytest.mark.limit(90)
async def test_many_lossless_readers_share_a_small_budget_and_lose_nothing(path):
    """Two megabytes for thirty readers who each could hold four times that: the publisher waits, nothing is lost."""
    count, readers = 6_000, 30
    async with Broker(path, config=BrokerConfig(total_queue_bytes=2 * MIB)) as broker:
        async with (
            EventBus.connect(path, config=ClientConfig(congestion="block", pool=False, publish_timeout=60)) as bus,
            EventBus.connect(path) as other,
        ):
            streams = [await other.subscribe("events.#", overflow="block", queue_messages=64) for _ in range(readers)]

            async def publish():
                for number in range(count):
                    await bus.publish(process(number, command_line="x" * 400))
                await bus.flush(60)

            publishing = asyncio.create_task(publish())
            # Everybody is full, and so is the budget.
            await asyncio.sleep(0.5)
            assert broker.statistics().queued_bytes <= 2 * MIB + readers * 1024
            got = await asyncio.gather(*(collect(events, count, 60) for events in streams))
            await publishing
            assert all(pids(events) == list(range(count)) for events in got)
            assert [events.dropped for events in streams] == [0] * readers
        assert sum(broker.statistics().dropped.values()) == 0


async def test_memory_of_a_stopped_reader_is_bounded(path, program):
    broker = program("broker.py", path)
    await broker.answer()
    reader = program("subscriber.py", path, {"patterns": ["events.#"], "expect": 1 << 30})
    await reader.answer()
    base = psutil.Process(broker.pid).memory_info().rss
    reader.freeze()
    async with EventBus.connect(path, config=ClientConfig(**SOLO)) as bus:
        for number in range(40_000):
            await bus.publish(process(number, command_line="x" * 1000))
        await bus.flush(timeout=20)
        grown = psutil.Process(broker.pid).memory_info().rss - base
        assert grown < 32 * MIB, f"{grown / MIB:.0f} MiB for a queue of 8 MiB"
    reader.kill()
    broker.finish()


async def test_fd_limit_of_a_broker(path, program):
    """No more descriptors: those connected go on, later ones get in once there are some."""
    import resource

    broker = program("broker.py", path)
    await broker.answer()
    used = len(os.listdir(f"/proc/{broker.pid}/fd"))
    async with EventBus.connect(path, config=ClientConfig(**SOLO)) as bus, bus.subscribe("events.#") as events:
        allowed = resource.prlimit(broker.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, (used + 4, allowed[1]))
        peers = []
        for _ in range(20):
            try:
                peers.append(wire.Raw(path, 1.0))
            except OSError:
                break
        for number in range(20):
            await bus.publish(process(number))
            await asyncio.sleep(0.01)
        assert pids(await collect(events, 20)) == list(range(20))
        before = psutil.Process(broker.pid).cpu_times()
        await asyncio.sleep(0.5)
        after = psutil.Process(broker.pid).cpu_times()
        spent = after.user + after.system - before.user - before.system
        assert spent < 0.2, f"{spent:.2f} s of CPU in 0.5 s: it spins"
        for peer in peers:
            peer.close()
        resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, allowed)
        async with EventBus.connect(path, config=ClientConfig(**SOLO)) as late:
            await late.flush()
    broker.finish(stderr=None)
