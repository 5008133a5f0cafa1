"""Fault 30. No type of the wire nests, and no element has size zero; JSON texts can try."""

import time

import pytest
from harness import scaled

from raw import Message, varint

pytestmark = [
    pytest.mark.fault(
        30,
        "H",
        "recursive payload 100,000 deep; list of zero-size items claiming 2^60",
        "depth or count error in under 10 ms; no stack overflow, no endless loop",
    ),
    pytest.mark.quick,
    pytest.mark.limit(60),
]


def test_depth_and_endless_lists(bench, seen):
    b = bench()
    deep = 30_000
    tries = {
        "arrays in JSON": b'SUB {"id":1,"x":' + b"[" * deep + b"]" * deep + b"}",
        "objects in JSON": b'SUB {"id":1,"x":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}",
        "unclosed": b"CONNECT " + b"[" * 60_000,
        "empty tags claiming 2^60": b"\x10" + b"\0" * 16 + varint(8) + b"events.x" + b"\1c\0\1c\0\0" + varint(1 << 60),
        "a payload of tags": Message("events.process.new", b"\4" * 100_000).encode(),
        "a map of empty pairs": Message(
            "events.process.new", b"\0\1\2sh\0\0\0\0" + varint(1 << 60) + b"\0" * 9000
        ).encode(),
    }
    worst = 0.0
    for name, body in tries.items():
        peer = b.connected()
        begin = time.monotonic()
        peer.send(body)
        said = peer.closed()
        took = time.monotonic() - begin
        assert said is not None, name
        assert said["code"] in {"decode", "protocol"}, (name, said)
        worst = max(worst, took)
    calm = b.undisturbed()
    assert worst < scaled(2.0, 0.1), worst
    seen(f"{len(tries)} kinds refused, slowest {worst * 1000:.1f} ms; {calm}")
