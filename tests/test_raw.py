"""The tests' own codec against the original's golden vectors: an oracle has to be right itself."""

import json
from pathlib import Path

import pytest

import raw as wire

VECTORS = json.loads((Path(__file__).parent / "vectors" / "bincode.json").read_text())["vectors"]
MESSAGES = [v for v in VECTORS if v["type"] == "Message" and "hex" in v]


@pytest.mark.parametrize("vector", MESSAGES, ids=lambda v: v["name"])
def test_message_vectors(vector):
    body = bytes.fromhex(vector["hex"])
    message = wire.decode_message(body)
    assert message.encode() == body
    value = vector["value"]
    assert (str(message.id), message.topic) == (value["id"], value["topic"])
    assert message.sequence == value["sequence"]
    correlation = value["correlation_metadata"]
    assert message.correlation == correlation["correlation_id"]
    assert message.tags == correlation["correlation_tags"]
    assert divmod(message.timestamp_ns, 10**9) == (
        value["timestamp"]["secs"],
        value["timestamp"]["nanos"],
    )


def test_process_event():
    for pid, ns in ((7, None), (70_000, None)):
        event = wire.decode_process(wire.process_event(pid, "é", {"k": "v"}))
        assert (event.pid, event.name, event.metadata) == (pid, "é", {"k": "v"})
        assert event.start_time_ns is ns
