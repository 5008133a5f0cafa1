"""The native dataclasses: the whole protocol, limits, and equality of what was made and what was received."""

import copy
import dataclasses
import pickle
import sys
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

import daemoneye_eventbus as bus
from daemoneye_eventbus import CorrelationMetadata, ProcessEvent, Timestamp, _native, wire

TIME = Timestamp.from_ns(1_700_000_000_123_456_789)
CORRELATION = CorrelationMetadata("c-1", "p", "r", 7, "s", {"k": "v"}, TIME)
PROCESS = ProcessEvent(70000, "sh", "sh -c", "/bin/sh", 1, TIME, {"a": "b", "c": "d"})
EVENTS = [
    PROCESS,
    ProcessEvent(0, ""),
    bus.NetworkEvent("c", "10.0.0.1:1", "10.0.0.2:2", "tcp", {"a": "b"}),
    bus.FilesystemEvent("/x", "create", 2**33, {"a": "b"}),
    bus.FilesystemEvent("/ü", "create"),
    bus.PerformanceEvent("m", 1.5, "u", {"a": "b"}),
    bus.TriggerRequest("r", "t", 200, b"\xff", {"a": "b"}),
    bus.TriggerRequest("r", "t"),
]
VALUES = [
    *EVENTS,
    CORRELATION,
    bus.BusEvent("e-1", PROCESS, CORRELATION, TIME, "events.#", "s-1", "events.process.new", 3),
    bus.ControlMessage("control.x", b"\x01", CORRELATION, TIME, 4, "m-1"),
    wire.Message("00112233-4455-6677-8899-aabbccddeeff", "events.x", CORRELATION, b"\x01", 5, TIME, "Control"),
    bus.SourceCaps(["process"], ["c"], 3),
    bus.EventFilter(["process"], [1], 2, {"a": "b"}, ["events.#"], ["c"]),
    bus.CorrelationFilter(["c"], ["c*"], ["p"], ["r"], ["s"], {"a": "b"}, {"c": "d"}, 1, 2),
    bus.EventSubscription("s", bus.SourceCaps(["process"]), bus.EventFilter(), bus.CorrelationFilter(), ["events.#"]),
    bus.EventBusStatistics(1, 2, 3, 4, 5),
    bus.BrokerStatistics(1, 2, 3, 4, 5, {"overflow": 6}, {"topic": 7}, 8, 9, 10),
    bus.ClientInfo("id", "name", 0, 1, "bincode", "native", 1, 2, 3, 4, {"overflow": 5}),
]
IDS = [f"{type(value).__name__}-{index}" for index, value in enumerate(VALUES)]
debug_only = pytest.mark.skipif(not _native.DEBUG_BUILD, reason="the way without a socket is in debug builds only")


@pytest.mark.parametrize("value", VALUES, ids=IDS)
def test_dataclass_protocol(value):
    cls = type(value)
    names = [field.name for field in dataclasses.fields(value)]
    assert dataclasses.is_dataclass(value)
    assert cls.__match_args__ == tuple(names)
    given = {name: getattr(value, name) for name in names}
    for same in (
        cls(**given),
        cls(*given.values()),
        copy.copy(value),
        copy.deepcopy(value),
        dataclasses.replace(value),
        *(pickle.loads(pickle.dumps(value, protocol)) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)),
    ):
        assert type(same) is cls
        assert same == value
        assert hash(same) == hash(value)
        assert repr(same) == repr(value)
    if sys.version_info >= (3, 13):
        assert copy.replace(value) == value
    plain = dataclasses.asdict(value)
    assert list(plain) == names
    for name, part in plain.items():
        assert type(part) is (dict if isinstance(given[name], Mapping) else type(part))
    assert len(dataclasses.astuple(value)) == len(names)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'x'"):
        value.x = 1
    with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot assign to field '{names[0]}'"):
        setattr(value, names[0], None)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field"):
        delattr(value, names[0])
    assert value != plain
    assert value != object()


@pytest.mark.parametrize("value", VALUES, ids=IDS)
def test_replacing_a_field_makes_another_value(value):
    name = dataclasses.fields(value)[0].name
    other = {int: 12, str: "00000000-0000-0000-0000-000000000000", tuple: ("network",)}[type(getattr(value, name))]
    changed = dataclasses.replace(value, **{name: other})
    assert changed != value
    assert getattr(changed, name) == other


def test_match():
    match PROCESS:
        case ProcessEvent(pid, name, ppid=1, metadata={"a": "b"}):
            assert (pid, name) == (70000, "sh")
        case _:
            pytest.fail("no match")


def test_defaults():
    event = ProcessEvent(pid=1, name="sh")
    assert dataclasses.astuple(event) == (1, "sh", None, None, None, None, {})
    assert repr(event) == (
        "ProcessEvent(pid=1, name='sh', command_line=None, executable_path=None, ppid=None, start_time=None, "
        "metadata={})"
    )
    root = CorrelationMetadata("c")
    assert (root.root_correlation_id, root.parent_correlation_id, root.sequence_number) == (
        "c",
        None,
        0,
    )
    assert bus.EventSubscription("s").enable_wildcards
    assert not bus.EventSubscription("s").include_control
    received = bus.BusEvent("e", event, root, TIME, "p", "s")
    assert (received.topic, received.sequence, received.dropped_before) == ("", 0, 0)
    assert received.correlation_id == "c"
    assert bus.BusEvent[ProcessEvent].__origin__ is bus.BusEvent


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ProcessEvent(1), TypeError, "missing"),
        (lambda: ProcessEvent("1", "sh"), TypeError, r"ProcessEvent\.pid: expected int, got str"),
        (lambda: ProcessEvent(True, "sh"), TypeError, r"ProcessEvent\.pid: expected int, got bool"),
        (lambda: ProcessEvent(1.0, "sh"), TypeError, r"ProcessEvent\.pid: expected int, got float"),
        (
            lambda: ProcessEvent(-1, "sh"),
            ValueError,
            r"ProcessEvent\.pid: must be between 0 and 4294967295, got -1",
        ),
        (lambda: ProcessEvent(2**32, "sh"), ValueError, "4294967295"),
        (lambda: ProcessEvent(10**5000, "sh"), ValueError, "4294967295"),
        (lambda: ProcessEvent(1, b"sh"), TypeError, r"ProcessEvent\.name: expected str, got bytes"),
        (
            lambda: ProcessEvent(1, None),
            TypeError,
            r"ProcessEvent\.name: expected str, got NoneType",
        ),
        (lambda: ProcessEvent(1, "\udc80"), ValueError, r"ProcessEvent\.name: .*os_text"),
        (
            lambda: ProcessEvent(1, "sh", metadata=None),
            TypeError,
            r"ProcessEvent\.metadata: expected a mapping",
        ),
        (lambda: ProcessEvent(1, "sh", metadata=[("a", "b")]), TypeError, "mapping"),
        (
            lambda: ProcessEvent(1, "sh", metadata={"a": 1}),
            TypeError,
            r"ProcessEvent\.metadata\['a'\]: expected str, got int",
        ),
        (
            lambda: ProcessEvent(1, "sh", metadata={1: "a"}),
            TypeError,
            r"ProcessEvent\.metadata: a key: expected str, got int",
        ),
        (
            lambda: CorrelationMetadata("c", correlation_tags={"k" * 129: "v"}),
            ValueError,
            r"CorrelationMetadata\.correlation_tags: a key: 129 bytes.*128",
        ),
        (
            lambda: CorrelationMetadata("c").with_tag("k" * 129, "v"),
            ValueError,
            r"CorrelationMetadata\.correlation_tags: a key: 129 bytes.*128",
        ),
        (
            lambda: CorrelationMetadata("c").with_tag("host", 5),
            TypeError,
            r"CorrelationMetadata\.correlation_tags\['host'\]: expected str, got int",
        ),
        (
            lambda: bus.EventFilter(metadata_filters={"user": 0}),
            TypeError,
            r"EventFilter\.metadata_filters\['user'\]: expected str, got int",
        ),
        (
            lambda: bus.EventFilter(metadata_filters={0: "root"}),
            TypeError,
            r"EventFilter\.metadata_filters: a key: expected str, got int",
        ),
        (
            lambda: ProcessEvent(1, "sh", metadata={"a": "\ud800"}),
            ValueError,
            r"ProcessEvent\.metadata\['a'\]: .*os_text",
        ),
        (
            lambda: ProcessEvent(1, "sh", metadata={str(n): "" for n in range(4097)}),
            ValueError,
            "limit of 4096",
        ),
        (lambda: bus.FilesystemEvent("/x", "create", 2**64), ValueError, r"FilesystemEvent\.size"),
        (
            lambda: bus.PerformanceEvent("m", "1", "u"),
            TypeError,
            r"PerformanceEvent\.value: expected float",
        ),
        (
            lambda: bus.PerformanceEvent("m", True, "u"),
            TypeError,
            r"PerformanceEvent\.value: expected float",
        ),
        (lambda: bus.PerformanceEvent("m", 10**400, "u"), ValueError, "too large for a float"),
        (
            lambda: bus.TriggerRequest("r", "t", 256),
            ValueError,
            r"TriggerRequest\.priority: must be between 0 and 255",
        ),
        (
            lambda: bus.TriggerRequest("r", "t", 0, "x"),
            TypeError,
            r"TriggerRequest\.payload: expected bytes",
        ),
        (
            lambda: CorrelationMetadata("x" * 257),
            ValueError,
            r"CorrelationMetadata\.correlation_id: 257 bytes.*256",
        ),
        (
            lambda: CorrelationMetadata("c", "é" * 129),
            ValueError,
            r"parent_correlation_id: 258 bytes.*256",
        ),
        (lambda: CorrelationMetadata("c", None, "x" * 257), ValueError, "root_correlation_id"),
        (
            lambda: CorrelationMetadata("c", workflow_stage="x" * 129),
            ValueError,
            "workflow_stage: 129 bytes.*128",
        ),
        (
            lambda: CorrelationMetadata("c", correlation_tags={str(n): "" for n in range(65)}),
            ValueError,
            "correlation_tags: 65 entries.*64",
        ),
        (lambda: CorrelationMetadata("c", correlation_tags={"x" * 129: ""}), ValueError, "128"),
        (lambda: CorrelationMetadata("c", correlation_tags={"x": "x" * 1025}), ValueError, "1024"),
        (
            lambda: bus.BusEvent("e", "event", CORRELATION, TIME, "p", "s"),
            TypeError,
            "ProcessEvent, NetworkEvent",
        ),
        (lambda: bus.BusEvent("e", PROCESS, "c", TIME, "p", "s"), TypeError, "CorrelationMetadata"),
        (
            lambda: wire.Message("x", "t", CORRELATION, b"", 0, TIME, "Event"),
            ValueError,
            r"Message\.id.*UUID",
        ),
        (
            lambda: wire.Message("0" * 32, "t", CORRELATION, b"", 0, TIME, "Other"),
            ValueError,
            "one of Event",
        ),
        (
            lambda: bus.EventFilter(event_types="process"),
            TypeError,
            r"EventFilter\.event_types: expected a sequence",
        ),
        (lambda: bus.EventFilter(pids=[2**32]), ValueError, r"EventFilter\.pids"),
        (lambda: bus.EventFilter(pids=["1"]), TypeError, r"EventFilter\.pids"),
        (lambda: bus.EventFilter(min_priority=256), ValueError, r"EventFilter\.min_priority"),
        (lambda: bus.SourceCaps(["\udc80"]), ValueError, r"SourceCaps\.event_types.*os_text"),
        (lambda: bus.EventSubscription(5), TypeError, r"EventSubscription\.subscriber_id"),
        (lambda: bus.EventSubscription("s", {}), TypeError, r"EventSubscription\.capabilities"),
        (
            lambda: bus.EventSubscription("s", enable_wildcards=1),
            TypeError,
            "enable_wildcards: expected bool",
        ),
        (lambda: bus.CorrelationFilter(any_tags=["a"]), TypeError, r"CorrelationFilter\.any_tags"),
        (
            lambda: bus.ClientInfo("i", "n", 0, 0, "bincode", "other"),
            ValueError,
            r"ClientInfo\.peer",
        ),
    ],
)
def test_refusals_name_the_field_and_the_limit(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_limits_themselves_are_taken():
    assert ProcessEvent(2**32 - 1, "").pid == 2**32 - 1
    assert len(ProcessEvent(1, "", metadata={str(n): "" for n in range(4096)}).metadata) == 4096
    tags = {str(n): "" for n in range(64)}
    full = CorrelationMetadata("x" * 256, correlation_tags=tags)
    assert full.with_tag("0", "x").correlation_tags["0"] == "x"
    with pytest.raises(ValueError, match="64"):
        full.with_tag("more", "")
    assert bus.PerformanceEvent("m", 3, "u").value == 3.0


class Text(str):
    __slots__ = ()

    def __eq__(self, other):
        return False

    __hash__ = str.__hash__


def test_subclasses_leave_nothing_behind():
    event = ProcessEvent(1, Text("sh"), metadata={Text("a"): Text("b")})
    assert type(event.name) is str
    assert event == ProcessEvent(1, "sh", metadata={"a": "b"})
    assert type(next(iter(event.metadata))) is str


def test_correlation_methods():
    child = CORRELATION.create_child("c-2")
    assert (child.correlation_id, child.parent_correlation_id, child.root_correlation_id) == (
        "c-2",
        "c-1",
        "r",
    )
    assert (child.sequence_number, child.workflow_stage, child.correlation_tags) == (
        0,
        "s",
        {"k": "v"},
    )
    assert child.created_at > TIME
    assert CORRELATION.with_stage("t") == dataclasses.replace(CORRELATION, workflow_stage="t")
    assert CORRELATION.with_tag("x", "y").correlation_tags == {"k": "v", "x": "y"}
    assert CORRELATION.correlation_tags == {"k": "v"}
    for pattern, matches in {
        "c-1": True,
        "c-*": True,
        "*": True,
        "p": True,
        "r*": True,
        "x": False,
        "c": False,
    }.items():
        assert CORRELATION.matches_pattern(pattern) is matches
    with pytest.raises(ValueError, match="256"):
        CORRELATION.matches_pattern("*" * 257)


def test_floats():
    nan = bus.PerformanceEvent("m", float("nan"), "u")
    assert nan == pickle.loads(pickle.dumps(nan))
    assert hash(nan) == hash(pickle.loads(pickle.dumps(nan)))
    assert bus.PerformanceEvent("m", 0.0, "u") == bus.PerformanceEvent("m", -0.0, "u")
    assert hash(bus.PerformanceEvent("m", 0.0, "u")) == hash(bus.PerformanceEvent("m", -0.0, "u"))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_in_its_frame_equals_the_one_that_was_made(event):
    received = wire.decode(bus.CollectionEvent, wire.encode(event, type=bus.CollectionEvent))
    assert type(received) is type(event)
    assert received == event
    assert event == received
    assert hash(received) == hash(event)
    assert repr(received) == repr(event)
    assert dataclasses.asdict(received) == dataclasses.asdict(event)
    assert pickle.loads(pickle.dumps(received)) == event
    assert dataclasses.replace(received) == event
    assert wire.encode(received, type=bus.CollectionEvent) == wire.encode(event, type=bus.CollectionEvent)


TEXT = st.text(max_size=20)


@given(
    st.builds(
        ProcessEvent,
        st.integers(0, 2**32 - 1),
        TEXT,
        st.none() | TEXT,
        st.none() | TEXT,
        st.none() | st.integers(0, 2**32 - 1),
        st.none() | st.integers(0, 253_402_300_799_999_999_999).map(Timestamp.from_ns),
        st.dictionaries(TEXT, TEXT, max_size=5),
    )
)
def test_any_process_event_survives(event):
    assert wire.decode(ProcessEvent, wire.encode(event)) == event
    received = wire.decode(bus.CollectionEvent, wire.encode(event, type=bus.CollectionEvent))
    assert received == event
    assert hash(received) == hash(event)
    assert dataclasses.astuple(received) == dataclasses.astuple(event)
    assert pickle.loads(pickle.dumps(received)) == event


def test_a_repeated_key_of_the_wire_counts_once():
    once = wire.encode(bus.NetworkEvent("c", "a", "b", "t", {"k": "2"}), type=bus.CollectionEvent)
    twice = once[:-5] + b"\x02\x01k\x011\x01k\x012"
    received = wire.decode(bus.CollectionEvent, twice)
    assert received.metadata == {"k": "2"}
    assert received == bus.NetworkEvent("c", "a", "b", "t", {"k": "2"})
    assert hash(received) == hash(bus.NetworkEvent("c", "a", "b", "t", {"k": "2"}))


def test_a_time_beyond_the_calendar():
    data = wire.encode(ProcessEvent(1, "sh", start_time=TIME), type=bus.CollectionEvent)
    at = data.index(b"\xfc")
    beyond = data[:at] + b"\xfd" + (2**62).to_bytes(8, "little") + data[at + 5 :]
    event = wire.decode(bus.CollectionEvent, beyond)
    with pytest.raises(OverflowError, match="start_time lies beyond year 9999.*start_time_ns"):
        event.start_time
    assert event.start_time_ns == 2**62 * 10**9 + 123_456_789
    assert f"start_time=Timestamp.from_ns({event.start_time_ns})" in repr(event)
    again = pickle.loads(pickle.dumps(event))
    assert again == event
    assert again.start_time_ns == event.start_time_ns


@debug_only
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_received_and_local_are_the_same(event):
    topic = "control.trigger.request" if isinstance(event, bus.TriggerRequest) else "events.process.new"
    for correlation in ("c-1", CORRELATION):
        received = _native._received(_native._published(event, correlation, topic, 9), 3)
        local = _native._local(event, correlation, topic, 9)
        assert type(received) is bus.BusEvent
        assert received == local
        assert hash(received) == hash(local)
        assert repr(received) == repr(local)
        assert received.event == event
        assert received.event is received.event
        assert received.correlation_metadata is received.correlation_metadata
        assert (received.correlation_id, local.correlation_id) == ("c-1", "c-1")
        assert received.event_id == "00112233-4455-6677-8899-aabbccddeeff"
        assert (received.topic, received.sequence, received.matched_pattern) == (
            topic,
            9,
            "events.#",
        )
        assert (received.bus_timestamp, received.bus_timestamp_ns) == (TIME, TIME.ns)
        assert (received.dropped_before, local.dropped_before) == (3, 0)
        again = pickle.loads(pickle.dumps(received))
        assert again == received
        assert again.dropped_before == 3
        # What was received can be published again.
        assert _native._received(_native._published(received.event, "c-1", topic, 9), 0).event == event


@debug_only
def test_control_messages():
    received = _native._received(_native._published(b"\x00\xff", CORRELATION, "control.collector.task", 9), 0)
    assert type(received) is bus.ControlMessage
    assert received == _native._local(b"\x00\xff", CORRELATION, "control.collector.task", 9)
    assert (received.payload, received.correlation_id) == (b"\x00\xff", "c-1")
    assert (received.timestamp, received.timestamp_ns) == (TIME, TIME.ns)
    assert pickle.loads(pickle.dumps(received)) == received
    raw = _native._received(_native._published(b"\x00", "c-1", "control.trigger.request", 9), 0)
    assert type(raw) is bus.ControlMessage


@debug_only
def test_correlations_that_publish_takes():
    with pytest.raises(TypeError, match="publish.correlation: expected str, CorrelationMetadata or None, got int"):
        _native._published(PROCESS, 5, "events.x", 0)
    with pytest.raises(ValueError, match="publish.correlation: 257 bytes.*256"):
        _native._published(PROCESS, "x" * 257, "events.x", 0)
    with pytest.raises(TypeError, match="publish.event: expected ProcessEvent, NetworkEvent"):
        _native._published("event", "c", "events.x", 0)
