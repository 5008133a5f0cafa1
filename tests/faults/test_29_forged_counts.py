"""Fault 29. Lengths and counts inside a frame are not believed."""

import subprocess
import sys

import pytest
from harness import MIB

from raw import data, moment, option, text, varint

pytestmark = [
    pytest.mark.fault(
        29,
        "C",
        "small valid frame whose string, list or map claims 2^35, 2^60, 2^63 elements",
        "decode error, process alive",
    ),
    pytest.mark.quick,
    pytest.mark.limit(60),
]
CLAIMS = [1 << 33, 1 << 35, 1 << 60, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]


def forged(claim: int) -> dict[str, bytes]:
    """Messages with one count forged: in the envelope, and in the event within the payload."""
    head = data(b"\0" * 16) + text("events.process.new") + text("c") + b"\0" + text("c") + varint(0)
    rest = moment(1_600_000_000_000_000_000)
    event = b"\0" + varint(1) + text("sh") + b"\0\0\0\0"
    tail = varint(0) + rest + b"\0"
    return {
        "topic": data(b"\0" * 16) + varint(claim) + b"events",
        "correlation id": data(b"\0" * 16) + text("events.x") + varint(claim) + b"c",
        "stage": head + b"\1" + varint(claim) + b"s",
        "tags": head + option(None, text) + varint(claim) + text("k") + text("v"),
        "payload": head + b"\0" + varint(0) + rest + varint(claim) + event,
        "metadata": head + b"\0\0" + rest + data(event + varint(claim) + text("k") + text("v")) + tail,
        "name": head + b"\0\0" + rest + data(b"\0" + varint(1) + varint(claim) + b"sh") + tail,
        "uuid": b"\x10" + b"\0" * 16 + varint(claim),
    }


def test_forged_counts_are_decode_errors(bench, seen):
    b = bench()
    tried = 0
    before = b.reading().rss
    for claim in CLAIMS:
        for name, body in forged(claim).items():
            peer = b.connected()
            peer.send(body)
            said = peer.closed()
            assert said is not None, (name, claim)
            assert said["code"] == "decode", (name, claim, said)
            tried += 1
    grown = (b.reading().rss - before) / MIB
    assert grown < 2, grown
    assert b.refused("decode") == tried
    seen(f"{tried} forged counts, {grown:+.1f} MiB; {b.undisturbed()}")


def test_the_same_at_wire_decode():
    """In a process of its own: what aborts cannot be caught."""
    code = """
import sys
from daemoneye_eventbus import wire, DecodeError
for line in sys.stdin:
    for dialect in wire.DIALECTS:
        try:
            wire.decode(wire.Message, bytes.fromhex(line.strip()), dialect)
        except DecodeError:
            continue
        raise SystemExit(f"taken: {dialect} {line}")
print("refused")
"""
    in_payload = ("metadata", "name")  # a message carries its payload as bytes, whatever is in it
    bodies = "\n".join(body.hex() for claim in CLAIMS for name, body in forged(claim).items() if name not in in_payload)
    done = subprocess.run(
        [sys.executable, "-c", code], input=bodies, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "refused"), done
