"""A subscription's own queue: policies, places of gaps, and who waits for whom."""

import asyncio
import dataclasses
import gc
import pickle
from typing import Any

import pytest

from daemoneye_eventbus import (
    Broker,
    BrokerConfig,
    ClientConfig,
    ConnectionClosed,
    ConnectionLost,
    EventBus,
    EventFilter,
    PublishTimeout,
    WouldBlock,
)
from support import Pair, collect, eventually, make_pair, pids, process, take_all


async def fill(pair: Pair, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        await pair.sub.publish(process(number))
    await pair.sub.flush()


async def test_drop_oldest_keeps_the_newest(pair: Pair):
    async with pair.sub.subscribe("events.#", queue_messages=100, overflow="drop_oldest") as events:
        await fill(pair, 1000)
        assert (events.pending, events.dropped) == (100, 900)
        got = take_all(events)
        assert pids(got) == list(range(900, 1000))
        assert [i.dropped_before for i in got] == [900] + [0] * 99
        await fill(pair, 3, 1000)
        assert [(i.event.pid, i.dropped_before) for i in take_all(events)] == [
            (1000, 0),
            (1001, 0),
            (1002, 0),
        ]
        assert events.dropped == 900
        assert events.gaps == 0, "a gap by overflow is no interruption"


async def test_a_control_message_tells_what_was_lost_before_it(pair: Pair):
    async with pair.sub.subscribe("control.#", include_control=True, queue_messages=10) as events:
        for number in range(30):
            await pair.sub.publish_control("control.x", bytes([number]))
        await pair.sub.flush()
        got = take_all(events)
        assert [(i.payload[0], i.dropped_before) for i in got] == [(20, 20), *((number, 0) for number in range(21, 30))]
        assert events.dropped == 20
    again = pickle.loads(pickle.dumps(got[0]))
    assert (again, again.dropped_before) == (got[0], 20)
    other = dataclasses.replace(again)
    assert (other, other.dropped_before) == (again, 0), "no field"


async def test_drop_newest_keeps_the_oldest(pair: Pair):
    async with pair.sub.subscribe("events.#", queue_messages=100, overflow="drop_newest") as events:
        await fill(pair, 1000)
        assert (events.pending, events.dropped) == (100, 900)
        got = take_all(events)
        assert pids(got) == list(range(100))
        assert {i.dropped_before for i in got} == {0}
        await fill(pair, 2, 1000)
        assert [(i.event.pid, i.dropped_before) for i in take_all(events)] == [(1000, 900), (1001, 0)]


async def test_several_gaps_each_at_its_place(pair: Pair):
    async with pair.sub.subscribe("events.#", queue_messages=10, overflow="drop_newest") as events:
        await fill(pair, 15)
        got = [events.get_nowait() for _ in range(4)]
        await fill(pair, 7, 15)
        got += take_all(events)
        await fill(pair, 1, 22)
        got += take_all(events)
        assert [(i.event.pid, i.dropped_before) for i in got if i.dropped_before] == [
            (15, 5),
            (22, 3),
        ]
        assert len(got) + events.dropped == 23


async def test_queue_bytes_bound_too(pair: Pair):
    async with pair.sub.subscribe("events.#", queue_bytes=100_000) as events:
        for number in range(50):
            await pair.sub.publish(process(number, command_line="x" * 10_000))
        await pair.sub.flush()
        assert 5 <= events.pending <= 10
        assert events.pending + events.dropped == 50
        await pair.sub.publish(process(50, command_line="x" * 300_000))
        await pair.sub.flush()
        got = take_all(events)
        assert len(got) + events.dropped == 51
        assert pids(got)[-1] == 50, "larger than the whole queue: accepted when it is empty"
        await pair.sub.publish(process(51, command_line="x" * 300_000))
        await pair.sub.flush()
        assert pids(take_all(events)) == [51]


async def test_one_full_subscription_costs_only_itself(pair: Pair):
    async with (
        pair.sub.subscribe("events.#", queue_messages=1) as full,
        pair.sub.subscribe("events.#") as roomy,
    ):
        await fill(pair, 500)
        assert pids(take_all(roomy)) == list(range(500))
        assert (full.dropped, roomy.dropped) == (499, 0)
        assert [(i.event.pid, i.dropped_before) for i in take_all(full)] == [(499, 499)]


async def test_block_on_both_sides_loses_nothing(kind, path):
    async with make_pair(kind, path, pub={"congestion": "block"}) as pair:
        async with pair.sub.subscribe("events.#", queue_messages=7, overflow="block") as events:

            async def publish():
                for number in range(3000):
                    await pair.pub.publish(process(number))

            task = asyncio.create_task(publish())
            assert pids(await collect(events, 3000, 20)) == list(range(3000))
            await task
            assert events.dropped == 0


async def test_block_publisher_times_out_in_process(path):
    async with (
        make_pair("inproc", path, pub={"congestion": "block", "publish_timeout": 1.5}) as pair,
        pair.sub.subscribe("events.#", queue_messages=10, overflow="block") as events,
    ):
        for number in range(10):
            await pair.pub.publish(process(number))
        with pytest.raises(WouldBlock):
            pair.pub.publish_nowait(process(97))
        loop = asyncio.get_running_loop()
        begin = loop.time()
        with pytest.raises(PublishTimeout) as caught:
            await pair.pub.publish(process(98))
        assert isinstance(caught.value, TimeoutError)
        assert 1.45 < loop.time() - begin < 2.7
        waiting = asyncio.create_task(pair.pub.publish(process(10)))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        assert (await events.get()).event.pid == 0
        await waiting
        assert pids(await collect(events, 10)) == list(range(1, 11))
        assert events.dropped == 0


@pytest.mark.parametrize("way", ["time-out", "cancellation"])
async def test_a_publish_given_up_in_process_is_accounted_for(path, way):
    """What one reader has and another waits for is published, and lost to the other; what nobody has is neither."""
    seconds = 0.2 if way == "time-out" else 20
    async with (
        make_pair("inproc", path, pub={"congestion": "block", "publish_timeout": seconds}) as pair,
        pair.sub.subscribe("events.#", queue_messages=2, overflow="block") as small,
    ):

        async def give_up(number: int) -> None:
            if way == "time-out":
                with pytest.raises(PublishTimeout):
                    await pair.pub.publish(process(number))
                return
            publish = asyncio.create_task(pair.pub.publish(process(number)))
            await asyncio.sleep(0.05)
            publish.cancel()
            with pytest.raises(asyncio.CancelledError):
                await publish

        await pair.pub.publish(process(0))
        await pair.pub.publish(process(1))
        await give_up(2)
        assert pair.broker.statistics().messages_published == 2
        assert pair.pub.local_statistics()["published"] == 2
        async with pair.sub.subscribe("events.#") as roomy:
            await give_up(3)
            statistics = pair.broker.statistics()
            assert statistics.messages_published == pair.pub.local_statistics()["published"] == 3
            assert statistics.dropped == {"overflow": 1}
            assert pids(take_all(roomy)) == [3]
            assert pids(take_all(small)) == [0, 1]
            assert (small.dropped, roomy.dropped) == (1, 0)
            await pair.pub.publish(process(4))
            assert (await small.get()).dropped_before == 1


@pytest.mark.parametrize("way", ["time-out", "cancellation", "shutdown"])
@pytest.mark.parametrize("call", ["publish", "publish_control", "publish_many"])
async def test_what_gives_a_publish_up_says_whether_it_was_published(path, way, call):
    """Whoever goes on from `accepted` publishes nothing twice: it is what the statistics and the readers say."""
    seconds = 0.2 if way == "time-out" else 20
    config = {"congestion": "block", "publish_timeout": seconds}
    async with make_pair("inproc", path, pub=config) as pair:
        patterns = ("events.#", "control.#")
        small = await pair.sub.subscribe(*patterns, queue_messages=2, overflow="block", include_control=True)

        def publish() -> Any:
            match call:
                case "publish":
                    return pair.pub.publish(process(1))
                case "publish_control":
                    return pair.pub.publish_control("control.x", b"")
            return pair.pub.publish_many(map(process, range(4)))

        async def give_up() -> tuple[int, int]:
            """What the exception says, and what the statistics do."""
            before = pair.pub.local_statistics()["published"]
            task = asyncio.create_task(publish())
            await asyncio.sleep(0.05)
            if way == "cancellation":
                task.cancel()
            if way == "shutdown":
                await pair.pub.shutdown()
            expected = {
                "time-out": PublishTimeout,
                "cancellation": asyncio.CancelledError,
                "shutdown": ConnectionClosed,
            }
            with pytest.raises(expected[way]) as given_up:
                await task
            if isinstance(given_up.value, PublishTimeout):
                assert given_up.value.timeout == seconds
            return given_up.value.accepted, pair.pub.local_statistics()["published"] - before

        fills = 0 if call == "publish_many" else 2
        for number in range(fills):
            await pair.pub.publish(process(number))
        if way != "shutdown":
            taken = 2 - fills
            assert await give_up() == (taken, taken), "nobody has got what was given up"
            take_all(small)
            for number in range(fills):
                await pair.pub.publish(process(number))
        async with pair.sub.subscribe(*patterns, include_control=True) as roomy:
            told, counted = await give_up()
            assert told == counted == len(take_all(roomy)) == 3 - fills
            assert small.dropped == 1
        await small.close()


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
async def test_stall_rule_in_process(path, policy):
    """After `stall_timeout` without a pop the queue counts as stalled and drops by its policy."""
    async with (
        make_pair(
            "inproc",
            path,
            broker={"stall_timeout": 0.3},
            pub={"congestion": "block"},
            sub={"broker_overflow": policy},
        ) as pair,
        pair.sub.subscribe("events.#", queue_messages=10, overflow="block") as events,
    ):
        loop = asyncio.get_running_loop()
        begin = loop.time()
        for number in range(30):
            await pair.pub.publish(process(number))
        assert 0.25 < loop.time() - begin < 3, "one stall for all, not one each"
        assert events.pending + events.dropped == 30
        got = take_all(events)
        wanted = range(20, 30) if policy == "drop_oldest" else range(10)
        assert pids(got) == list(wanted)


async def test_a_dropping_publisher_never_waits(pair: Pair):
    async with pair.sub.subscribe("events.#", queue_messages=5, overflow="block") as events:
        for number in range(1000):
            await asyncio.wait_for(pair.pub.publish(process(number)), 1)
        await pair.pub.flush()
        if pair.kind == "inproc":
            assert events.pending + events.dropped == 1000
            assert events.dropped == 995
        else:
            got = []
            while len(got) + events.dropped < 1000:
                got.append(await events.get(timeout=5))


async def test_what_is_pending_at_close_is_dropped_as_closed(pair: Pair):
    events = await pair.sub.subscribe("events.#")
    await fill(pair, 25)
    assert events.pending == 25
    await events.close()
    assert events.pending == 0
    assert events.dropped == 25
    local = pair.sub.local_statistics()
    assert local["dropped"].get("closed") == 25


async def test_what_is_on_its_way_at_close_is_dropped_as_closed(pair: Pair):
    """The broker sends until it has heard of the end, and counts that as delivered."""
    bus = pair.sub
    for way in ("close", "forget"):
        before = bus.local_statistics()["dropped"].get("closed", 0)
        events = await bus.subscribe("events.#", event_filter=EventFilter(event_types=["process"]))
        await bus.publish_many(process(number) for number in range(1_000))
        if way == "close":
            await events.close()
            assert events.dropped == 1_000
        else:
            with pytest.warns(ResourceWarning):
                del events
                gc.collect()
            await bus.flush()
        assert bus.local_statistics()["dropped"]["closed"] - before == 1_000


async def test_send_buffer_is_bounded(path, program):
    """A broker that stands still: publish_nowait says so, publish waits, nothing is invented."""
    broker = program("broker.py", path)
    await broker.answer()
    config = ClientConfig(send_buffer_bytes=100_000, publish_timeout=0.3, pool=False)
    async with EventBus.connect(path, config=config) as bus:
        broker.freeze()
        accepted, before = 0, -1
        while accepted != before:
            before = accepted
            with pytest.raises(WouldBlock):
                while accepted < 100_000:
                    bus.publish_nowait(process(accepted, command_line="x" * 1000))
                    accepted += 1
            await asyncio.sleep(0.02)
        # The kernel may have taken a little more since.
        with pytest.raises(PublishTimeout):
            while accepted < 2000:
                await bus.publish(process(accepted, command_line="x" * 1000))
                accepted += 1
        assert accepted < 2000, "100 KB of buffer and what the kernel takes"
        broker.thaw()
        await bus.flush()
        assert bus.local_statistics()["published"] == accepted
        assert (await bus.statistics()).messages_published == accepted
    broker.finish()


async def test_one_message_always_fits_into_an_empty_send_buffer(path, broker):
    config = ClientConfig(send_buffer_bytes=1, publish_timeout=5.0, pool=False)
    async with (
        EventBus.connect(path) as sub,
        sub.subscribe("events.#") as events,
        EventBus.connect(path, config=config) as bus,
    ):
        for number in range(20):
            await bus.publish(process(number, command_line="x" * 1000))
        await bus.flush()
        assert pids(await collect(events, 20)) == list(range(20))


async def test_fifty_clients(path, broker):
    """Fifty connections: each hears all of one, one hears all of each, in order."""
    from daemoneye_eventbus import ClientConfig, EventBus

    buses = [await EventBus.connect(path, config=ClientConfig(pool=False, client=f"c{n}")) for n in range(50)]
    try:
        assert len(broker.clients()) == 50
        inboxes = [await bus.subscribe("events.process.*") for bus in buses]
        central = await buses[0].subscribe("events.network.*")
        for number in range(100):
            await buses[7].publish(process(number))
        for inbox in inboxes:
            assert pids(await collect(inbox, 100)) == list(range(100))

        async def talk(n: int) -> None:
            for number in range(40):
                await buses[n].publish(process(n * 100 + number), topic="events.network.x")

        await asyncio.gather(*(talk(n) for n in range(50)))
        got = pids(await collect(central, 2000))
        for n in range(50):
            assert [p for p in got if p // 100 == n] == [n * 100 + i for i in range(40)]
        statistics = await buses[3].statistics()
        assert statistics.messages_published == 100 + 2000
        assert statistics.messages_delivered == 50 * 100 + 2000
        assert statistics.active_subscribers == 51
        assert statistics.active_topics == 2
    finally:
        await asyncio.gather(*(bus.shutdown() for bus in buses))
    await eventually(lambda: not broker.clients(), what="clients")


@pytest.mark.parametrize("congestion", ["drop", "block"])
async def test_a_reader_in_process_that_is_to_be_cut_is_told(path, congestion):
    """It has what waits and then the end, with the reason; what came meanwhile is lost to it, and counted."""
    async with (
        make_pair(
            "inproc",
            path,
            broker={"stall_timeout": 0.2},
            pub={"congestion": congestion},
            sub={"broker_overflow": "disconnect"},
        ) as pair,
        pair.sub.subscribe("events.#", queue_messages=10, overflow="block") as events,
    ):
        got: list[int] = []

        async def read() -> None:
            async for item in events:
                got.append(item.event.pid)
                if len(got) == 3:
                    await asyncio.sleep(1.0)

        reader = asyncio.create_task(read())
        await asyncio.sleep(0)
        for number in range(100):
            await pair.pub.publish(process(number))
        with pytest.raises(ConnectionLost, match="disconnect"):
            await asyncio.wait_for(reader, 5)
        assert got == list(range(len(got)))
        assert 10 <= len(got) < 100
        with pytest.raises(ConnectionLost):
            await events.get()
        # Being told was the cut: from then on nothing matches it.
        await pair.pub.publish(process(100))
        assert len(got) + events.dropped == 100
        statistics = pair.broker.statistics()
        assert statistics.messages_published == 101
        assert statistics.messages_delivered + statistics.dropped["overflow"] == 100
        assert (statistics.active_subscribers, statistics.active_topics) == (0, 0)


@pytest.mark.parametrize(
    ("late", "said"),
    [
        (False, "the queue of this connection is full, and it asked to be disconnected then"),
        (True, 'perhaps because its queue for this bus was full (broker_overflow="disconnect")'),
    ],
    ids=["in time", "too late"],
)
async def test_a_reader_elsewhere_that_is_cut_while_it_stands_still_is_told(path, program, late, said):
    """The broker's word has no room in a full socket, and waits for some only as long as ``write_timeout``."""
    config = {"reconnect": False, "broker_overflow": "disconnect", "broker_queue_messages": 100}
    spec = {"patterns": ["events.#"], "expect": 20_000, "config": config}
    async with (
        Broker(path, config=BrokerConfig(write_timeout=0.5 if late else 20.0)) as broker,
        EventBus.from_broker(broker) as bus,
    ):
        reader = program("subscriber.py", path, spec)
        await reader.answer()
        reader.freeze()
        for number in range(20_000):
            await bus.publish(process(number))
        reason = "write_timeout" if late else "slow_consumer"
        await eventually(lambda: broker.statistics().refused.get(reason), what=reason)
        reader.thaw()
        account = await reader.answer()
        assert account["end"] == "ConnectionLost"
        assert said in account["said"], account["said"]
        assert 0 < account["received"] < 20_000, "what the kernel had taken comes first"
        reader.finish()
