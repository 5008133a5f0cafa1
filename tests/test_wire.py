"""wire: the original's bytes, both ways."""

import dataclasses
import datetime as dt
import json
import typing
from pathlib import Path

import pytest

import daemoneye_eventbus as bus
from daemoneye_eventbus import wire

VECTORS = Path(__file__).parent / "vectors"
KINDS = {
    "CollectionEvent": bus.CollectionEvent,
    "CorrelationFilter": bus.CorrelationFilter,
    "CorrelationMetadata": bus.CorrelationMetadata,
    "EventBusStatistics": bus.EventBusStatistics,
    "EventFilter": bus.EventFilter,
    "EventSubscription": bus.EventSubscription,
    "FilesystemEvent": bus.FilesystemEvent,
    "Message": wire.Message,
    "NetworkEvent": bus.NetworkEvent,
    "PerformanceEvent": bus.PerformanceEvent,
    "ProcessEvent": bus.ProcessEvent,
    "SourceCaps": bus.SourceCaps,
    "BusEvent": bus.BusEvent,
    "TriggerRequest": bus.TriggerRequest,
}


def load(kind):
    for dialect in wire.DIALECTS:
        path = VECTORS / f"{dialect}.json"
        for entry in json.loads(path.read_text())[kind]:
            if entry["type"] in KINDS and "hex" in entry:
                yield pytest.param(dialect, entry, id=f"{dialect}-{entry['name']}")


@pytest.mark.parametrize(("dialect", "entry"), list(load("vectors")))
def test_golden_vectors(dialect, entry):
    kind = KINDS[entry["type"]]
    data = bytes.fromhex(entry["hex"])
    value = wire.decode(kind, data, dialect)
    assert wire.encode(value, dialect, type=kind) == data
    again = wire.decode(kind, data, dialect)
    assert value == again
    assert hash(value) == hash(again)
    assert repr(value) == repr(again)


@pytest.mark.parametrize(("dialect", "entry"), list(load("reject")))
def test_rejected_vectors(dialect, entry):
    with pytest.raises(bus.DecodeError) as error:
        wire.decode(KINDS[entry["type"]], bytes.fromhex(entry["hex"]), dialect)
    assert error.value.dialect == dialect
    assert 0 <= error.value.offset <= len(entry["hex"]) // 2
    assert error.value.reason
    assert str(error.value) == f"cannot decode {dialect} at offset {error.value.offset}: {error.value.reason}"


@pytest.mark.parametrize(("dialect", "entry"), list(load("lenient")))
def test_lenient_vectors(dialect, entry):
    kind, data = KINDS[entry["type"]], bytes.fromhex(entry["hex"])
    if entry["consumed"] < len(data):
        with pytest.raises(bus.DecodeError) as error:
            wire.decode(kind, data, dialect)
        assert error.value.offset == entry["consumed"]
    else:
        value = wire.decode(kind, data, dialect)
        assert value == wire.decode(kind, bytes.fromhex(entry["canonical_hex"]), dialect)


@pytest.mark.parametrize("dialect", wire.DIALECTS)
def test_what_the_original_does_not_encode(dialect):
    entries = json.loads((VECTORS / f"{dialect}.json").read_text())["encode_errors"]
    assert [entry["name"] for entry in entries] == ["encode-error/timestamp-before-1970"]
    with pytest.raises(ValueError, match="before 1970"):
        wire.encode(bus.ProcessEvent(1, "sh", start_time=dt.datetime(1969, 12, 31, 23, 59, 59, tzinfo=dt.UTC)), dialect)


def captured():
    for dialect in ("bincode", "postcard"):
        captures = json.loads((VECTORS / f"captures-{dialect}.json").read_text())
        for scenario in captures["scenarios"]:
            for place, record in enumerate(scenario["records"]):
                if record["kind"] == "frame" and "message" in record:
                    yield pytest.param(dialect, record, id=f"{dialect}-{scenario['name']}-{place}")


@pytest.mark.parametrize(("dialect", "record"), list(captured()))
def test_captured_messages(dialect, record):
    body = bytes.fromhex(record["hex"])[4:]
    message = wire.decode(wire.Message, body, dialect)
    assert message.topic == record["message"]["topic"]
    assert str(message.id) == record["message"]["id"]
    assert message.correlation_metadata.correlation_id == record["message"]["correlation_metadata"]["correlation_id"]
    assert wire.encode(message, dialect) == body


def test_one_value_in_every_dialect():
    event = bus.ProcessEvent(70_000, "sh", metadata={"user": "root"})
    encodings = {dialect: wire.encode(event, dialect) for dialect in wire.DIALECTS}
    assert wire.DIALECTS == ("bincode", "postcard", "bincode-v0")
    assert encodings["bincode"] == encodings["bincode-v0"] != encodings["postcard"]
    for dialect, data in encodings.items():
        assert wire.decode(bus.ProcessEvent, data, dialect) == event


def test_the_first_generation_knew_less():
    root = bus.CorrelationMetadata("c-1")
    time = bus.Timestamp.from_ns(1_700_000_000_123_456_789)
    event = bus.BusEvent("e", bus.ProcessEvent(1, "sh"), root, time, "p", "s")
    read = wire.decode(bus.BusEvent, wire.encode(event, "bincode-v0"), "bincode-v0")
    assert read.correlation_metadata == dataclasses.replace(root, created_at=bus.Timestamp.from_ns(0))
    assert dataclasses.replace(read, correlation_metadata=root) == event
    for metadata, field in (
        (root.create_child("c-2"), "parent_correlation_id"),
        (root.with_stage("s"), "workflow_stage"),
        (root.with_tag("k", "v"), "correlation_tags"),
    ):
        with pytest.raises(ValueError, match=f"CorrelationMetadata.{field} is not in bincode-v0"):
            wire.encode(dataclasses.replace(event, correlation_metadata=metadata), "bincode-v0")
    with pytest.raises(ValueError, match=r"CorrelationFilter\.min_sequence"):
        wire.encode(bus.CorrelationFilter(min_sequence=0), "bincode-v0")


@pytest.mark.parametrize("dialect", ["bincode", "bincode-v0"])
def test_a_subscription_of_before_include_control(dialect):
    with pytest.raises(ValueError, match=rf"EventSubscription\.include_control is not in {dialect}, "):
        wire.encode(bus.EventSubscription("s", include_control=True), dialect)
    without = bus.EventSubscription("s")
    assert wire.decode(bus.EventSubscription, wire.encode(without, dialect), dialect) == without
    later = wire.encode(without, "postcard")
    with pytest.raises(bus.DecodeError, match="1 bytes too many"):
        wire.decode(bus.EventSubscription, later, dialect)


@pytest.mark.parametrize(
    ("config", "field"),
    [(bus.BrokerConfig, "dialect"), (bus.BrokerConfig, "original_dialect"), (bus.ClientConfig, "dialect")],
)
def test_connections_speak_the_dialects_that_the_types_say(config, field):
    spoken = typing.get_args(typing.get_type_hints(config)[field])
    assert spoken == tuple(name for name in wire.DIALECTS if name != "bincode-v0")
    for name in spoken:
        assert getattr(config(**{field: name}), field) == name
    with pytest.raises(ValueError, match=f"{field}: must be one of bincode, postcard"):
        config(**{field: "bincode-v0"})


def test_union_and_struct():
    event = bus.ProcessEvent(1, "sh")
    struct = wire.encode(event)
    union = wire.encode(event, type=bus.CollectionEvent)
    assert union == b"\x00" + struct
    assert wire.decode(bus.ProcessEvent, struct) == wire.decode(bus.CollectionEvent, union) == event
    with pytest.raises(bus.DecodeError, match="offset 9"):
        wire.decode(bus.ProcessEvent, struct + b"\x00")


def test_the_types_that_have_no_vector():
    time = bus.Timestamp.from_ns(1_700_000_000_123_456_789)
    event = bus.BusEvent("e", bus.ProcessEvent(1, "sh"), bus.CorrelationMetadata("c"), time, "p", "s")
    assert wire.decode(bus.BusEvent, wire.encode(event)) == event
    subscription = bus.EventSubscription("s", event_filter=bus.EventFilter(pids=[1]), topic_patterns=["events.#"])
    assert wire.decode(bus.EventSubscription, wire.encode(subscription)) == subscription


def test_refusals():
    for unknown in ("xml", "\ud800"):
        with pytest.raises(ValueError, match="dialect: must be one of bincode, postcard, bincode-v0"):
            wire.encode(bus.ProcessEvent(1, "sh"), unknown)
        with pytest.raises(ValueError, match="dialect: must be one of bincode, postcard, bincode-v0"):
            wire.decode(bus.ProcessEvent, b"", unknown)
    with pytest.raises(TypeError, match="value: expected one of the types in daemoneye_eventbus.wire, got int"):
        wire.encode(5)
    with pytest.raises(TypeError, match="type: expected one of the types in daemoneye_eventbus.wire, got int"):
        wire.decode(int, b"")
    with pytest.raises(TypeError, match="expected ProcessEvent"):
        wire.encode(bus.NetworkEvent("c", "a", "b", "tcp"), type=bus.ProcessEvent)
    with pytest.raises(TypeError, match="bytes"):
        wire.decode(bus.ProcessEvent, "text")
