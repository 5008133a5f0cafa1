"""Publish and subscribe: the same behaviour in process and through the socket."""

import asyncio
import enum
import itertools
import uuid
from dataclasses import dataclass

import pytest

import daemoneye_eventbus as bus_module
from daemoneye_eventbus import (
    BusEvent,
    CorrelationFilter,
    CorrelationMetadata,
    EventFilter,
    EventSubscription,
    FilesystemEvent,
    NetworkEvent,
    PatternError,
    PerformanceEvent,
    ProcessEvent,
    Rule,
    SourceCaps,
    SubscriptionRefused,
    Timestamp,
    TopicError,
    TriggerRequest,
    topics,
)
from support import Pair, collect, pids, process, take_all

NS = 1_700_000_000_123_456_789
NOTHING = SourceCaps(event_types=[], collectors=[], max_priority=0)
EVENTS = [
    (ProcessEvent(pid=7, name="sh", start_time=Timestamp.from_ns(NS)), "events.process.new"),
    (
        NetworkEvent(connection_id="c", source_address="a:1", destination_address="b:2", protocol="tcp"),
        "events.network.new",
    ),
    (FilesystemEvent(path="/x", event_type="create", size=1 << 33), "events.filesystem.new"),
    (
        PerformanceEvent(metric_name="cpu", value=1.5, unit="%", metadata={"k": "v"}),
        "events.performance.new",
    ),
    (
        TriggerRequest(request_id="r", collector_type="t", priority=200, payload=b"\xff\x00"),
        "control.trigger.request",
    ),
]


@pytest.mark.parametrize(("event", "topic"), EVENTS, ids=lambda v: type(v).__name__)
async def test_each_type_has_its_topic_and_its_subscription(pair: Pair, event, topic):
    async with pair.sub.subscribe(type(event)) as events:
        assert await pair.pub.publish(event, "c-1") is None
        (received,) = await collect(events, 1)
        assert isinstance(received, BusEvent)
        assert received.event == event
        assert type(received.event) is type(event)
        assert received.topic == topic
        assert received.correlation_id == "c-1"
        assert received.subscriber_id == events.subscriber_id
        assert received.dropped_before == 0
        uuid.UUID(received.event_id)
        assert isinstance(received.bus_timestamp, Timestamp)


async def test_a_type_selects_its_family_only(pair: Pair):
    async with pair.sub.subscribe(NetworkEvent) as events:
        for event, _ in EVENTS:
            await pair.pub.publish(event)
        await pair.pub.publish(EVENTS[1][0], "last", topic="events.network.connections")
        first, last = await collect(events, 2)
        assert first.event == EVENTS[1][0]
        assert last.correlation_id == "last"


async def test_a_type_filters_other_types_on_its_topics(pair: Pair):
    async with pair.sub.subscribe(ProcessEvent) as events:
        await pair.pub.publish(EVENTS[1][0], topic="events.process.new")
        await pair.pub.publish(process(1), topic="events.process.start")
        (received,) = await collect(events, 1)
        assert received.event.pid == 1
        assert events.dropped == 0


async def test_types_mixed_with_patterns_filter_nothing(pair: Pair):
    async with pair.sub.subscribe(ProcessEvent, "events.filesystem.new") as events:
        await pair.pub.publish(EVENTS[1][0], topic="events.process.new")
        await pair.pub.publish(EVENTS[2][0])
        got = await collect(events, 2)
        assert [type(item.event) for item in got] == [NetworkEvent, FilesystemEvent]


async def test_several_types(pair: Pair):
    async with pair.sub.subscribe(ProcessEvent, NetworkEvent) as events:
        assert set(events.patterns) == {"events.process.*", "events.network.*"}
        for event, _ in EVENTS:
            await pair.pub.publish(event)
        await pair.pub.publish(process(99))
        got = await collect(events, 3)
        assert [type(item.event) for item in got] == [ProcessEvent, NetworkEvent, ProcessEvent]


async def test_own_publishes_are_heard(pair: Pair):
    async with pair.pub.subscribe("events.#") as events:
        await pair.pub.publish(process(5))
        assert pids(await collect(events, 1)) == [5]


async def test_first_in_first_out_per_publisher(pair: Pair):
    async with pair.sub.subscribe("events.process.*") as events:

        async def run(bus, start):
            for number in range(start, start + 2000):
                await bus.publish(process(number))

        await asyncio.gather(run(pair.pub, 0), run(pair.sub, 10_000))
        got = pids(await collect(events, 4000))
        assert [p for p in got if p < 10_000] == list(range(2000))
        assert [p for p in got if p >= 10_000] == list(range(10_000, 12_000))


async def test_sequence_rises_per_publisher(pair: Pair):
    async with pair.sub.subscribe("events.#") as events:
        for number in range(5):
            await pair.pub.publish(process(number))
        got = [item.sequence for item in await collect(events, 5)]
        assert [b - a for a, b in itertools.pairwise(got)] == [1, 1, 1, 1]
        ids = {item.event_id for item in take_all(events)}
        assert not ids


async def test_correlation_text_metadata_and_none(pair: Pair):
    given = CorrelationMetadata("root").create_child("child").with_stage("scan").with_tag("k", "v")
    async with pair.sub.subscribe("events.#") as events:
        await pair.pub.publish(process(1), "c-é")
        await pair.pub.publish(process(2), given)
        await pair.pub.publish(process(3))
        await pair.pub.publish(process(4))
        text, whole, fresh, other = await collect(events, 4)
    assert text.correlation_metadata.correlation_id == "c-é" == text.correlation_id
    assert text.correlation_metadata.root_correlation_id == "c-é"
    assert whole.correlation_metadata == given
    assert whole.correlation_metadata.parent_correlation_id == "root"
    assert whole.correlation_metadata.root_correlation_id == "root"
    assert whole.correlation_metadata.workflow_stage == "scan"
    assert dict(whole.correlation_metadata.correlation_tags) == {"k": "v"}
    assert uuid.UUID(fresh.correlation_id) != uuid.UUID(other.correlation_id)


async def test_every_field_survives_exactly(pair: Pair):
    event = ProcessEvent(
        pid=2**32 - 1,
        name="näme\u202e\n\0",
        command_line="x" * 10_000,
        executable_path="",
        ppid=0,
        start_time=Timestamp.from_ns(NS),
        metadata={"": "", "k" * 300: "v" * 300, "日本": "語"},
    )
    async with pair.sub.subscribe(ProcessEvent) as events:
        await pair.pub.publish(event)
        (received,) = await collect(events, 1)
    assert received.event == event
    assert received.event.start_time_ns == NS
    assert received.event.start_time.ns == NS
    assert dict(received.event.metadata) == dict(event.metadata)


async def test_bus_times_are_exact_and_now(pair: Pair):
    import time

    before = time.time_ns()
    async with pair.sub.subscribe(ProcessEvent) as events:
        await pair.pub.publish(process(1))
        (received,) = await collect(events, 1)
    assert before <= received.bus_timestamp_ns <= time.time_ns()
    assert received.bus_timestamp.ns == received.bus_timestamp_ns
    assert before <= received.correlation_metadata.created_at.ns <= time.time_ns()


@pytest.mark.parametrize(
    ("patterns", "topic", "best"),
    [
        (["events.#", "events.process.*", "events.process.new"], "events.process.new", -1),
        (["events.process.new", "events.#", "#"], "events.process.new", 0),
        (["events.#", "events.process.*"], "events.process.new", 1),
        (["events.+.new", "+.+.new", "events.*"], "events.process.new", 0),
        (["+.+.new", "events.#"], "events.process.new", 1),
        (["+.+.+", "+.process.+", "#"], "events.process.new", 2),
    ],
)
async def test_matched_pattern_prefers_the_more_specific(pair: Pair, patterns, topic, best):
    async with pair.sub.subscribe(*patterns) as events:
        await pair.pub.publish(process(1), topic=topic)
        await pair.pub.publish(process(2), topic=topic)
        got = await collect(events, 2)
        assert pids(got) == [1, 2], "once per subscription, however many patterns match"
        assert {item.matched_pattern for item in got} == {patterns[best]}


async def test_each_subscription_gets_each_event(pair: Pair):
    async with (
        pair.sub.subscribe("events.#") as one,
        pair.sub.subscribe("events.process.*") as two,
        pair.sub.subscribe("events.network.*") as other,
        pair.pub.subscribe("events.process.new") as mine,
    ):
        assert len({s.subscriber_id for s in (one, two, other, mine)}) == 4
        for number in range(3):
            await pair.pub.publish(process(number))
        for subscription in (one, two, mine):
            got = await collect(subscription, 3)
            assert pids(got) == [0, 1, 2]
            assert {g.subscriber_id for g in got} == {subscription.subscriber_id}
        await pair.pub.publish(EVENTS[1][0])
        assert [type(g.event) for g in await collect(other, 1)] == [NetworkEvent]


async def test_a_subscription_begins_behind_what_was_published_before(pair: Pair):
    """Also where another subscription of the bus is on its way to get that."""
    async with pair.sub.subscribe(ProcessEvent) as first:
        await pair.sub.publish_many(process(pid) for pid in range(5))
        async with pair.sub.subscribe(ProcessEvent) as second:
            await pair.sub.publish(process(5))
            assert pids(await collect(first, 6)) == list(range(6))
            assert pids(await collect(second, 1)) == [5]
            assert second.pending == second.dropped == 0


async def test_unsubscribe_ends_it_and_nothing_else(pair: Pair):
    gone = await pair.sub.subscribe("events.#")
    async with pair.sub.subscribe("events.#") as stays:
        await pair.pub.publish(process(1))
        assert pids(await collect(gone, 1)) == [1]
        await pair.sub.unsubscribe(gone.subscriber_id)
        await pair.pub.publish(process(2))
        assert pids(await collect(stays, 2)) == [1, 2]
        assert [item async for item in gone] == []
        with pytest.raises(bus_module.SubscriptionClosed):
            await gone.get(timeout=1)


async def test_a_subscriber_id_is_open_once_per_bus(pair: Pair):
    def named(*patterns):
        return EventSubscription(subscriber_id="mine", capabilities=NOTHING, topic_patterns=list(patterns))

    first = await pair.sub.subscribe(named("events.process.*"))
    assert first.subscriber_id == "mine"
    with pytest.raises(SubscriptionRefused) as refused:
        await pair.sub.subscribe(named("events.#"))
    assert (refused.value.reason, refused.value.limit) == (
        "subscriber_id 'mine' is open on this bus already; close it first",
        None,
    )
    async with pair.pub.subscribe(named("events.#")):
        pass
    await pair.pub.publish(process(1))
    assert [i.subscriber_id for i in await collect(first, 1)] == ["mine"]
    await first.close()
    async with pair.sub.subscribe(named("events.#")) as again:
        await pair.pub.publish(process(2))
        assert pids(await collect(again, 1)) == [2]


async def test_a_member_of_an_enumeration_is_its_text(pair: Pair):
    """``str()`` of it is its name; topics and patterns, ids and filters were that of some calls and not of others."""

    class Word(str, enum.Enum):  # noqa: UP042  # a StrEnum writes its members as their texts
        TOPIC = "events.process.start"
        KIND = "process"
        ID = "mine"

    wish = EventSubscription(
        Word.ID,
        topic_patterns=[Word.TOPIC],
        event_filter=EventFilter(event_types=[Word.KIND], metadata_filters={Word.KIND: Word.ID}),
        correlation_filter=CorrelationFilter(correlation_ids=[Word.ID]),
    )
    assert type(wish.subscriber_id) is str
    async with pair.sub.subscribe(Word.TOPIC) as plain, pair.sub.subscribe(wish) as chosen:
        assert (plain.patterns, chosen.subscriber_id) == (("events.process.start",), "mine")
        await pair.pub.publish(process(1, metadata={Word.KIND: Word.ID}), Word.ID, topic=Word.TOPIC)
        for events in (plain, chosen):
            assert pids(await collect(events, 1)) == [1]
        await pair.sub.unsubscribe(Word.ID)
    assert topics.task_topic(Word.KIND, Word.ID) == "control.collector.task.process.mine"
    assert SourceCaps(event_types=[Word.KIND]) == SourceCaps(event_types=["process"])
    assert Rule(tokens=[Word.ID], publish=[Word.TOPIC]) == Rule(tokens=["mine"], publish=["events.process.start"])


async def test_a_subscription_needs_something_to_match(pair: Pair):
    with pytest.raises(ValueError):
        await pair.sub.subscribe()
    with pytest.raises(ValueError):
        await pair.sub.subscribe(EventSubscription(subscriber_id="x", capabilities=NOTHING))


@pytest.mark.parametrize(
    "besides",
    [
        *({name: value} for name in ("event_filter", "correlation_filter") for value in ({}, 0, False, "")),
        *({"include_control": value} for value in (True, None, 0, "")),
        {"event_filter": EventFilter()},
    ],
    ids=str,
)
async def test_nothing_stands_besides_an_event_subscription(pair: Pair, besides):
    """What was false was once let pass, of whatever type."""
    wish = EventSubscription(subscriber_id="x", topic_patterns=["events.#"])
    with pytest.raises(ValueError, match="give nothing besides it"):
        await pair.sub.subscribe(wish, **besides)
    async with pair.sub.subscribe(wish, event_filter=None, correlation_filter=None, include_control=False) as events:
        assert events.subscriber_id == "x"


async def test_capabilities_give_patterns_and_filter_nothing(pair: Pair):
    caps = SourceCaps(event_types=["process", "network"], collectors=["other"], max_priority=0)
    wish = EventSubscription(subscriber_id="caps", capabilities=caps)
    async with pair.sub.subscribe(wish) as events:
        assert set(events.patterns) == {"events.process.*", "events.network.*"}
        await pair.pub.publish(EVENTS[2][0])
        await pair.pub.publish(EVENTS[1][0])
        await pair.pub.publish(EVENTS[2][0], topic="events.process.new")
        got = await collect(events, 2)
        assert [type(g.event) for g in got] == [NetworkEvent, FilesystemEvent]


async def test_the_capability_for_trigger_requests_gives_them_where_they_are_published(pair: Pair):
    caps = SourceCaps(event_types=["trigger"])
    async with pair.sub.subscribe(EventSubscription("caps", capabilities=caps)) as events:
        assert set(events.patterns) == {"events.trigger.*", "control.trigger.request"}
        await pair.pub.publish(TriggerRequest("r", "process"))
        await pair.pub.publish_control("control.trigger.request", b"no trigger request")
        await pair.pub.publish(process(1), topic="events.trigger.x")
        got = await collect(events, 2)
        assert [type(g.event) for g in got] == [TriggerRequest, ProcessEvent]


async def test_without_wildcards_only_exact_patterns(pair: Pair):
    def wish(pattern):
        return EventSubscription(
            subscriber_id="exact",
            capabilities=NOTHING,
            topic_patterns=[pattern],
            enable_wildcards=False,
        )

    for pattern in ("events.*", "events.+.new", "events.#"):
        with pytest.raises(PatternError):
            await pair.sub.subscribe(wish(pattern))
    async with pair.sub.subscribe(wish("events.process.new")) as events:
        await pair.pub.publish(process(1), topic="events.process.start")
        await pair.pub.publish(process(2))
        assert pids(await collect(events, 1)) == [2]


async def test_publish_many(pair: Pair):
    async with pair.sub.subscribe("events.#") as events:
        count = await pair.pub.publish_many([process(n) for n in range(1000)], "batch")
        assert count == 1000
        got = await collect(events, 1000)
        assert pids(got) == list(range(1000))
        assert {item.correlation_id for item in got} == {"batch"}
        assert await pair.pub.publish_many([]) == 0
        with pytest.raises(TopicError):
            await pair.pub.publish_many([process(1)], topic="nowhere")


async def test_an_error_of_publish_many_says_how_many_were_accepted(pair: Pair):
    """Whoever goes on behind them publishes none twice, whoever raised it, and however often others had their turn."""

    class OwnError(Exception):
        pass

    @dataclass(frozen=True)
    class FrozenError(Exception):
        why: str

    def broken(count: int):
        yield from map(process, range(count))
        raise OwnError

    def frozen(count: int):
        yield from map(process, range(count))
        raise FrozenError("it takes no attributes")

    def wrong(count: int):
        yield from map(process, range(count))
        yield "no event"

    for count in (0, 1, 64, 500):
        for source, error in ((broken, OwnError), (frozen, FrozenError), (wrong, TypeError)):
            before = pair.pub.local_statistics()["published"]
            with pytest.raises(error) as raised:
                await pair.pub.publish_many(source(count))
            assert raised.value.accepted == pair.pub.local_statistics()["published"] - before == count

    async def asynchronous():
        yield process(1)

    for refused in (asynchronous(), None, 5):
        with pytest.raises(TypeError, match="an iterable of events") as raised:
            await pair.pub.publish_many(refused)
        assert raised.value.accepted == 0

    before = pair.pub.local_statistics()["published"]

    async def publish() -> int | None:
        try:
            return await pair.pub.publish_many(map(process, range(100_000)))
        except asyncio.CancelledError as cancelled:
            return cancelled.accepted

    publishing = asyncio.create_task(publish())
    await asyncio.sleep(0)
    publishing.cancel()
    assert 0 < await publishing == pair.pub.local_statistics()["published"] - before < 100_000
