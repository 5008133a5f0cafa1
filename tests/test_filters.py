"""Event and correlation filters: what passes, and that the broker applies them itself."""

import pytest

from daemoneye_eventbus import (
    CorrelationFilter,
    CorrelationMetadata,
    DecodeError,
    EventFilter,
    EventSubscription,
    NetworkEvent,
    PatternError,
    ProcessEvent,
    SourceCaps,
    SubscriptionRefused,
    TriggerRequest,
    wire,
)
from support import Pair, collect, make_pair, pids, process

META = CorrelationMetadata("child-7").with_stage("scan").with_tag("a", "1").with_tag("b", "2")
CHILD = CorrelationMetadata("root-1").create_child("kid-2")
NET = NetworkEvent(
    connection_id="c",
    source_address="a",
    destination_address="b",
    protocol="tcp",
    metadata={"collector": "netmond"},
)
TRIGGERS = [TriggerRequest(request_id=str(p), collector_type="t", priority=p) for p in (1, 5, 9)]
SENT = {
    "p1": (process(1, metadata={"k": "v"}), "c-1", None),
    "p2": (process(2, metadata={"k": "w", "x": "y"}), "c-2", "events.process.start"),
    "p3": (process(3), META, None),
    "p4": (process(4), CHILD, None),
    "p5": (process(5), CorrelationMetadata("s").with_tag("source_process", "procmond"), None),
    "net": (NET, "c-net", None),
    "t1": (TRIGGERS[0], "t", None),
    "t5": (TRIGGERS[1], "t", None),
    "t9": (TRIGGERS[2], "t", None),
}
EVENT_CASES = [
    ({}, set(SENT)),
    ({"event_types": ["process"]}, {"p1", "p2", "p3", "p4", "p5"}),
    ({"event_types": ["network", "trigger"]}, {"net", "t1", "t5", "t9"}),
    ({"event_types": ["filesystem"]}, set()),
    ({"pids": [1, 4]}, {"p1", "p4"}),
    ({"min_priority": 5}, {"t5", "t9"}),
    ({"min_priority": 0}, {"t1", "t5", "t9"}),
    ({"metadata_filters": {"k": "v"}}, {"p1"}),
    ({"metadata_filters": {"k": "w", "x": "y"}}, {"p2"}),
    ({"metadata_filters": {"k": "v", "x": "y"}}, set()),
    ({"topic_filters": ["events.process.start", "events.network.*"]}, {"p2", "net"}),
    ({"source_collectors": ["netmond"]}, {"net"}),
    ({"source_collectors": ["procmond", "netmond"]}, {"net", "p5"}),
    ({"pids": [1, 2], "metadata_filters": {"k": "w"}}, {"p2"}),
    ({"pids": [1], "min_priority": 1}, set()),
]
CORRELATION_CASES = [
    ({"correlation_ids": ["c-1", "c-net"]}, {"p1", "net"}),
    ({"correlation_patterns": ["c-*"]}, {"p1", "p2", "net"}),
    ({"correlation_patterns": ["c-1"]}, {"p1"}),
    ({"parent_correlation_ids": ["root-1"]}, {"p4"}),
    ({"root_correlation_ids": ["root-1", "c-2"]}, {"p4", "p2"}),
    ({"workflow_stages": ["scan"]}, {"p3"}),
    ({"required_tags": {"a": "1", "b": "2"}}, {"p3"}),
    ({"required_tags": {"a": "1", "b": "3"}}, set()),
    ({"any_tags": {"a": "1", "b": "3"}}, {"p3"}),
    ({"any_tags": {"a": "0"}}, set()),
    ({"correlation_ids": ["child-7"], "workflow_stages": ["other"]}, set()),
]


async def passed(pair: Pair, **filters) -> set[str]:
    """Names of what came of SENT: published by the subscriber's own bus, so flush is enough."""
    got = set()
    async with pair.sub.subscribe("#", **filters) as events:
        for event, correlation, topic in SENT.values():
            await pair.sub.publish(event, correlation, topic=topic)
        await pair.sub.flush()
        names = {event: name for name, (event, _, _) in SENT.items()}
        while events.pending:
            received = await events.get(timeout=1)
            assert names[received.event] not in got, "delivered twice"
            got.add(names[received.event])
        assert events.dropped == 0, "filtered is not dropped"
    return got


def named(value):
    """The same in every process: workers have to agree on the names of the tests."""
    return str(sorted(value) if isinstance(value, set) else value)


@pytest.mark.parametrize(("terms", "expected"), EVENT_CASES, ids=named)
async def test_event_filter(pair: Pair, terms, expected):
    assert await passed(pair, event_filter=EventFilter(**terms)) == expected


@pytest.mark.parametrize(("terms", "expected"), CORRELATION_CASES, ids=named)
async def test_correlation_filter(pair: Pair, terms, expected):
    assert await passed(pair, correlation_filter=CorrelationFilter(**terms)) == expected


async def test_both_filters_must_hold(pair: Pair):
    both = {
        "event_filter": EventFilter(pids=[1, 2]),
        "correlation_filter": CorrelationFilter(correlation_patterns=["*-2"]),
    }
    assert await passed(pair, **both) == {"p2"}


async def test_sequence_bounds(pair: Pair):
    wish = CorrelationFilter(min_sequence=2, max_sequence=3)
    async with pair.sub.subscribe("events.#", correlation_filter=wish) as events:
        for number in range(6):
            given = CorrelationMetadata(correlation_id="c", root_correlation_id="c", sequence_number=number)
            await pair.sub.publish(process(number), given)
        await pair.sub.flush()
        got = [(await events.get(timeout=1)).event.pid for _ in range(events.pending)]
        assert got == [2, 3]


async def test_a_filter_holds_while_another_subscription_of_the_bus_is_closed(pair: Pair):
    """What the broker has sent for the other one is still on its way then."""
    wanted = EventFilter(pids=[1])
    async with pair.sub.subscribe(ProcessEvent, event_filter=wanted) as events:
        for _ in range(20):
            other = await pair.sub.subscribe(ProcessEvent)
            await pair.pub.publish_many(process(pid % 2) for pid in range(60))
            await pair.pub.flush()
            await other.close()
            await pair.sub.flush()
            assert pids(await collect(events, 30)) == [1] * 30
            assert events.pending == 0


async def test_filters_together_with_types(pair: Pair):
    wish = EventFilter(pids=[2])
    async with pair.sub.subscribe(ProcessEvent, event_filter=wish) as events:
        await pair.sub.publish(NET, topic="events.process.new")
        for pid in (1, 2, 3):
            await pair.sub.publish(process(pid))
        await pair.sub.flush()
        assert events.pending == 1
        assert (await events.get(timeout=1)).event.pid == 2


async def test_filter_terms_are_limited(kind, path):
    async with make_pair(kind, path, broker={"max_filter_terms": 4}) as pair:
        fits = {
            "event_filter": EventFilter(pids=[1, 2]),
            "correlation_filter": CorrelationFilter(required_tags={"a": "b"}, workflow_stages=["x"]),
        }
        async with pair.sub.subscribe("#", **fits):
            pass
        with pytest.raises(SubscriptionRefused) as caught:
            await pair.sub.subscribe("#", event_filter=EventFilter(pids=[1, 2, 3, 4, 5]))
        assert caught.value.limit == 4
        assert "5 filter terms are above the limit of 4" in str(caught.value)
        # A list element or a map entry is a term, a bound is none.
        bounds = {
            "event_filter": EventFilter(pids=[1, 2, 3, 4], min_priority=0),
            "correlation_filter": CorrelationFilter(min_sequence=0, max_sequence=9),
        }
        async with pair.sub.subscribe("#", **bounds):
            pass
        # The refusal cost the connection nothing.
        await pair.sub.flush()


@pytest.mark.parametrize(
    ("filters", "error", "words"),
    [
        ({"event_filter": EventFilter(event_types=["proces"])}, SubscriptionRefused, "event_types"),
        ({"event_filter": EventFilter(topic_filters=["events.#.new"])}, PatternError, "events.#.new"),
        ({"correlation_filter": CorrelationFilter(correlation_patterns=["*" * 257])}, SubscriptionRefused, "256"),
    ],
    ids=["event type", "topic filter", "correlation pattern"],
)
async def test_bad_terms_are_refused(pair: Pair, filters, error, words):
    with pytest.raises(error) as caught:
        await pair.sub.subscribe("#", **filters)
    assert words in str(caught.value)
    async with pair.sub.subscribe("#") as events:
        await pair.sub.publish(process(1))
        assert (await events.get(timeout=5)).event.pid == 1


def test_bounds_that_nothing_could_meet_are_refused_at_construction():
    """They once were at `subscribe`, as no other value of a filter's own is."""
    refusal = r"CorrelationFilter\.min_sequence: 5 is above max_sequence 4, .* turn them over"
    with pytest.raises(ValueError, match=refusal) as caught:
        CorrelationFilter(min_sequence=5, max_sequence=4)
    assert not isinstance(caught.value, SubscriptionRefused)
    assert CorrelationFilter(min_sequence=4, max_sequence=4).min_sequence == 4
    # Another's bytes may say so all the same.
    encoded = wire.encode(CorrelationFilter(min_sequence=4, max_sequence=5))
    assert wire.decode(CorrelationFilter, encoded) == CorrelationFilter(min_sequence=4, max_sequence=5)
    assert encoded.endswith(bytes([1, 4, 1, 5]))
    with pytest.raises(DecodeError, match=refusal) as caught:
        wire.decode(CorrelationFilter, encoded[:-4] + bytes([1, 5, 1, 4]))
    assert (caught.value.dialect, caught.value.offset) == ("bincode", 0)


async def test_the_error_for_an_odd_capability_names_the_field(pair: Pair):
    """It named a pattern that the caller had never written."""
    asked = EventSubscription("s", capabilities=SourceCaps(event_types=["Process"]))
    with pytest.raises(PatternError, match=r'capabilities\.event_types: "Process": Invalid character') as caught:
        await pair.sub.subscribe(asked)
    assert caught.value.pattern == "events.Process.*"


@pytest.mark.parametrize("word", ["proces", "Process", "event"])
async def test_the_error_for_a_capability_that_is_no_event_type_says_which_are(pair: Pair, word):
    """A misspelt one gave a subscription on topics where nobody publishes."""
    caps = SourceCaps(event_types=["process", word])
    known = "process, network, filesystem, performance, trigger"
    with pytest.raises(PatternError, match=rf'capabilities\.event_types: "{word}": .*; the event types are {known};'):
        await pair.sub.subscribe(EventSubscription("s", capabilities=caps))
    # They say nothing where the patterns are given.
    async with pair.sub.subscribe(EventSubscription("s", capabilities=caps, topic_patterns=["events.process.*"])):
        pass


async def test_the_broker_filters_itself(eventbus_broker, raw):
    """A filtered event must not cross the socket: seen by a client without any matcher."""
    import raw as wire

    peer = raw(str(eventbus_broker.path))
    peer.connect()
    peer.subscribe(
        1,
        "events.#",
        event_filter={
            "event_types": [],
            "pids": [3],
            "min_priority": None,
            "metadata_filters": {},
            "topic_filters": [],
            "source_collectors": [],
        },
    )
    peer.send(*(wire.process_message(pid, sequence=pid) for pid in range(6)))
    got = peer.barrier()
    assert [wire.decode_process(m.payload).pid for m in got] == [3]


@pytest.mark.parametrize(
    ("restriction", "kept"),
    [
        ({"event_filter": {"pids": [1]}}, process(1, "KEPT")),
        ({"event_filter": {"event_types": ["network"]}}, NET),
        ({"event_filter": {"metadata_filters": {"k": "v"}}}, process(2, "KEPT", metadata={"k": "v"})),
        ({"correlation_filter": {"correlation_patterns": ["wanted-*"]}}, process(3, "KEPT")),
    ],
    ids=str,
)
async def test_no_byte_of_a_filtered_event_crosses_the_socket(eventbus_broker, eventbus_bus, raw, restriction, kept):
    """What came over the socket, byte for byte: the answer to PING stands behind everything published before it."""
    peer = raw(str(eventbus_broker.path))
    peer.connect()
    peer.subscribe(1, "events.#", **restriction)
    mark = "FILTERED" * 1000
    for _ in range(50):
        await eventbus_bus.publish(process(9, mark, command_line=mark, metadata={mark: mark}), mark[:32])
    await eventbus_bus.publish(kept, "wanted-1")
    peer.say("PING")
    came = b""
    while not came.endswith(b"PONG"):
        came += peer.sock.recv(1 << 16)
    assert b"FILTERED" not in came
    assert len(came) < 1000
    assert (b"KEPT" in came) == (kept is not NET)
    assert b"events." in came
