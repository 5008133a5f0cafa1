"""wire against an encoder of another hand: the layouts and the primitive encodings, written down once more in Python.

Any value must be written to the same bytes and read from them again, in every dialect; damaged bytes must be read as
the value that they are, or be a DecodeError that says where.
"""

import itertools
import struct
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import daemoneye_eventbus as bus
from daemoneye_eventbus import wire
from support import LONG

# `?` an option, `*` a list, {} a map of texts; names of tables are structs; a tuple is an enum.
LAYOUTS = {
    "ProcessEvent": "pid:u32 name:str command_line:?str executable_path:?str ppid:?u32 start_time:?time metadata:{}",
    "NetworkEvent": "connection_id:str source_address:str destination_address:str protocol:str metadata:{}",
    "FilesystemEvent": "path:str event_type:str size:?u64 metadata:{}",
    "PerformanceEvent": "metric_name:str value:f64 unit:str metadata:{}",
    "TriggerRequest": "request_id:str collector_type:str priority:u8 payload:bytes metadata:{}",
    "CorrelationMetadata": "correlation_id:str parent_correlation_id:?str root_correlation_id:str sequence_number:u64"
    " workflow_stage:?str correlation_tags:{} created_at:time",
    "Message": "id:uuid topic:str correlation_metadata:CorrelationMetadata payload:bytes sequence:u64 timestamp:time"
    " message_type:type",
    "BusEvent": "event_id:str event:CollectionEvent correlation_metadata:CorrelationMetadata bus_timestamp:time"
    " matched_pattern:str subscriber_id:str",
    "EventSubscription": "subscriber_id:str capabilities:SourceCaps event_filter:?EventFilter"
    " correlation_filter:?CorrelationFilter topic_patterns:?*str enable_wildcards:bool include_control:bool",
    "SourceCaps": "event_types:*str collectors:*str max_priority:u8",
    "EventFilter": "event_types:*str pids:*u32 min_priority:?u8 metadata_filters:{} topic_filters:*str"
    " source_collectors:*str",
    "CorrelationFilter": "correlation_ids:*str correlation_patterns:*str parent_correlation_ids:*str"
    " root_correlation_ids:*str workflow_stages:*str required_tags:{} any_tags:{} min_sequence:?u64 max_sequence:?u64",
    "EventBusStatistics": "messages_published:u64 messages_delivered:u64 active_subscribers:u64 active_topics:u64"
    " uptime_seconds:u64",
}
# What earlier generations had in their place.
EARLIER = {"EventSubscription": LAYOUTS["EventSubscription"].removesuffix(" include_control:bool")}
FIRST = EARLIER | {
    "CorrelationMetadata": "correlation_id:str",
    "CorrelationFilter": "correlation_ids:*str correlation_patterns:*str",
}
EVENTS = ("ProcessEvent", "NetworkEvent", "FilesystemEvent", "PerformanceEvent", "TriggerRequest")
TYPES = ("Event", "Control", "Heartbeat", "Shutdown")
CLASSES = {name: getattr(bus, name, None) or getattr(wire, name) for name in LAYOUTS}
CLASSES["CollectionEvent"] = bus.CollectionEvent
# The first generation had no value of its own for the metadata: there it is a field of others, a text.
CASES = [(d, n) for d in wire.DIALECTS for n in CLASSES if (d, n) != ("bincode-v0", "CorrelationMetadata")]


def fields(name, dialect):
    before = {"bincode": EARLIER, "bincode-v0": FIRST}.get(dialect, {})
    return [field.split(":") for field in before.get(name, LAYOUTS[name]).split()]


def integer(value, dialect):
    if dialect == "postcard":
        out = bytearray()
        while value > 0x7F:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*out, value])
    if value < 251:
        return bytes([value])
    if value < 1 << 16:
        return b"\xfb" + struct.pack("<H", value)
    return b"\xfc" + struct.pack("<I", value) if value < 1 << 32 else b"\xfd" + struct.pack("<Q", value)


def sized(data, dialect):
    return integer(len(data), dialect) + data


def text(value, dialect):
    return sized(value.encode(), dialect)


def table(value, dialect):
    texts = [*itertools.chain.from_iterable(value.items())]
    return integer(len(value), dialect) + b"".join(text(item, dialect) for item in texts)


def event(value, dialect):
    name = type(value).__name__
    return integer(EVENTS.index(name), dialect) + encode(name, value, dialect)


PRIMITIVES = {
    "bool": lambda value, _: bytes([value]),
    "u8": lambda value, _: bytes([value]),
    "u32": integer,
    "u64": integer,
    "f64": lambda value, _: struct.pack("<d", value),
    "str": text,
    "bytes": sized,
    "uuid": lambda value, dialect: sized(uuid.UUID(value).bytes, dialect),
    "time": lambda value, dialect: b"".join(integer(part, dialect) for part in divmod(value.ns, 10**9)),
    "type": lambda value, dialect: integer(TYPES.index(value), dialect),
    "{}": table,
    "CollectionEvent": event,
}


def encode(kind, value, dialect):
    """The bytes of ``value``, a field of this kind."""
    if kind[0] == "?":
        return b"\0" if value is None else b"\1" + encode(kind[1:], value, dialect)
    if kind[0] == "*":
        return integer(len(value), dialect) + b"".join(encode(kind[1:], item, dialect) for item in value)
    if kind in PRIMITIVES:
        return PRIMITIVES[kind](value, dialect)
    return b"".join(encode(of, getattr(value, name), dialect) for name, of in fields(kind, dialect))


LETTERS = st.characters(exclude_categories=["Cs"])
TEXT = st.text(LETTERS, max_size=40) | st.integers(120, 300).map("x".__mul__)
# Correlation has limits of its own, in bytes; the least is 128.
SHORT = st.text(LETTERS, max_size=32) | st.integers(120, 128).map("x".__mul__)
# Every length that an integer can have, and the values around the borders of it.
EDGES = [edge + by for edge in (0, 1 << 7, 251, 1 << 14, 1 << 16, 1 << 32, 1 << 63, 1 << 64) for by in (-1, 0, 1)]


def below(limit):
    return st.integers(0, limit - 1) | st.sampled_from([edge for edge in EDGES if 0 <= edge < limit])


PLAIN = {
    "bool": st.booleans(),
    "u8": below(1 << 8),
    "u32": below(1 << 32),
    "u64": below(1 << 64),
    "f64": st.floats(allow_nan=False),
    "str": TEXT,
    "bytes": st.binary(max_size=300),
    "uuid": st.uuids().map(str),
    "time": st.integers(0, 253_402_300_799 * 10**9).map(bus.Timestamp.from_ns),
    "type": st.sampled_from(TYPES),
    "{}": st.dictionaries(TEXT, TEXT, max_size=4),
}
CORRELATION = PLAIN | {"str": SHORT, "{}": st.dictionaries(SHORT, SHORT, max_size=4)}


def values(kind, dialect, plain=PLAIN):
    if kind[0] == "?":
        return st.none() | values(kind[1:], dialect, plain)
    if kind[0] == "*":
        return st.lists(values(kind[1:], dialect, plain), max_size=4)
    if kind in plain:
        return plain[kind]
    if kind == "CollectionEvent":
        return st.one_of([values(name, dialect) for name in EVENTS])
    if kind == "CorrelationMetadata":
        plain = CORRELATION
    given_fields = {name: values(of, dialect, plain) for name, of in fields(kind, dialect)}
    return st.fixed_dictionaries(given_fields).map(lambda given: made(CLASSES[kind], **given))


def made(cls, **given):
    """One that its constructor takes: bounds that nothing could meet are refused."""
    least, most = given.get("min_sequence"), given.get("max_sequence")
    if least is not None and most is not None:
        given["min_sequence"], given["max_sequence"] = sorted((least, most))
    return cls(**given)


many = settings(
    max_examples=1000 if LONG else 30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.limit(600)
@pytest.mark.parametrize(("dialect", "kind"), CASES)
def test_the_same_bytes_and_the_same_value(dialect, kind):
    @many
    @given(values(kind, dialect))
    def check(value):
        expected = encode(kind, value, dialect)
        assert wire.encode(value, dialect, type=CLASSES[kind]) == expected
        again = wire.decode(CLASSES[kind], expected, dialect)
        assert encode(kind, again, dialect) == expected
        if kind != "BusEvent" and dialect != "bincode-v0":
            assert again == value

    check()


@st.composite
def damaged(draw, kind, dialect):
    data = bytearray(encode(kind, draw(values(kind, dialect)), dialect))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 3)):
            case 0:
                del data[at:]
            case 1:
                data[at : at + 1] = draw(st.binary(max_size=3))
            case 2:
                # The longest integers there are, where a length may stand.
                data[at : at + 1] = draw(st.sampled_from([b"\xfd" + b"\xff" * 8, b"\xff" * 9 + b"\1", b"\xfe" * 17]))
            case 3:
                data[at:at] = draw(st.binary(max_size=12))
    return bytes(data)


@pytest.mark.limit(600)
@pytest.mark.parametrize(("dialect", "kind"), CASES)
def test_damage_is_said_or_read_as_what_it_is(dialect, kind):
    @many
    @given(damaged(kind, dialect))
    def check(data):
        try:
            value = wire.decode(CLASSES[kind], data, dialect)
        except bus.DecodeError as caught:
            error = caught
        else:
            # Read whole, so it is no larger than what it came from; what was longer than need be is written short.
            expected = wire.encode(value, dialect, type=CLASSES[kind])
            assert len(expected) <= len(data)
            assert wire.encode(wire.decode(CLASSES[kind], expected, dialect), dialect, type=CLASSES[kind]) == expected
            return
        assert error.dialect == dialect
        assert 0 <= error.offset <= len(data)
        assert error.reason

    check()


def repeating(kind, dialect):
    """A value without metadata, and with a map in their place that says one key twice."""
    empty, first = integer(0, dialect), encode("{}", {"k": "1", "other": ""}, dialect)
    value = encode(kind, CLASSES[kind](*ARGUMENTS[kind]), dialect)
    assert value.endswith(empty)
    again = integer(3, dialect) + first[1:] + text("k", dialect) + text("2", dialect)
    return value[:-1] + again, value[:-1] + encode("{}", {"k": "2", "other": ""}, dialect)


ARGUMENTS = {
    "ProcessEvent": (1, "a"),
    "NetworkEvent": ("a", "b", "c", "tcp"),
    "FilesystemEvent": ("/a", "create"),
    "PerformanceEvent": ("cpu", 1.0, "%"),
    "TriggerRequest": ("r", "yara", 1, b""),
}


@pytest.mark.parametrize("kind", EVENTS)
@pytest.mark.parametrize("dialect", wire.DIALECTS)
def test_a_repeated_key_is_written_once(dialect, kind):
    given, once = repeating(kind, dialect)
    assert wire.encode(wire.decode(CLASSES[kind], given, dialect), dialect) == once
    index = integer(EVENTS.index(kind), dialect)
    event = wire.decode(bus.CollectionEvent, index + given, dialect)
    assert event.metadata == {"k": "2", "other": ""}
    assert wire.encode(event, dialect, type=bus.CollectionEvent) == index + once
    assert wire.encode(event, dialect) == once
