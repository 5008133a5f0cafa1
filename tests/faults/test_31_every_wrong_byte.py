"""Fault 31. Decoding is all or nothing."""

import json
import subprocess
import sys

import pytest
from harness import scaled

from raw import Message, data, process_event, process_message, text

pytestmark = [
    pytest.mark.fault(
        31,
        "H",
        "trailing bytes; cut at every offset; every enum tag; bool 2; option tag 2; bad UTF-8; over-long varints",
        "error each, never half accepted; consumed length equals body length",
    ),
    pytest.mark.limit(120),
]


def wrong() -> dict[str, bytes]:
    good = process_message(7)
    event = process_event(7)
    out = {f"cut at {at}": good[:at] for at in range(1, len(good), scaled(7, 1))}
    out |= {f"trailing {n}": good + b"\0" * n for n in (1, 2, 100)}
    out |= {
        f"event tag {tag}": Message("events.process.new", bytes([tag]) + event[1:]).encode() for tag in range(5, 251)
    }
    out |= {f"message type {tag}": good[:-1] + bytes([tag]) for tag in range(4, 251, scaled(20, 1))}
    out["option 2 in the event"] = Message("events.process.new", b"\0\7\2sh\2\0\0\0\0").encode()
    out["trailing byte in the payload"] = Message("events.process.new", event + b"\0").encode()
    out["empty payload"] = Message("events.process.new", b"").encode()
    out["bad UTF-8 in the topic"] = data(b"\0" * 16) + data(b"\xff\xfe") + good[17 + 19 :]
    out["bad UTF-8 in the name"] = Message("events.process.new", b"\0\7" + data(b"\xc3\x28") + b"\0\0\0\0\0").encode()
    out["surrogate in the name"] = Message(
        "events.process.new", b"\0\7" + data(b"\xed\xb2\x80") + b"\0\0\0\0\0"
    ).encode()
    out["uuid of 15"] = data(b"\0" * 15) + text("events.process.new") + good[17 + 19 :]
    out["integer tag 254"] = Message("events.process.new", b"\0\xfe" + b"\0" * 16 + event[2:]).encode()
    out["integer tag 255"] = Message("events.process.new", b"\0\xff" + event[2:]).encode()
    out["pid of 33 bits"] = Message("events.process.new", b"\0\xfd" + b"\xff" * 8 + event[2:]).encode()
    return out


def test_each_is_refused_and_nothing_of_it_is_delivered(bench, seen):
    b = bench({"max_connections": 1000})
    reader = b.connected()
    reader.subscribe(1, "events.#")
    tries = wrong()
    b.canary.ask()
    for name, body in tries.items():
        peer = b.connected()
        peer.send(body)
        said = peer.closed()
        peer.close()
        assert said is not None, name
        assert said["code"] in {"decode", "protocol"}, (name, said)
    b.raws = [reader]
    own = b.connected()
    own.send(process_message(9))
    own.barrier()
    got = [m for m in reader.barrier() if m.topic != "events.performance.canary"]
    assert [m.payload for m in got] == [process_event(9)]
    seen(f"{len(tries)} bodies refused, none delivered; {b.undisturbed()}")


def test_over_long_integers(seen):
    """A value in more bytes than it needs: bincode takes it by its own definition, postcard's rule is its last byte.

    Whatever is taken must come out as one value and use up every byte.
    """
    code = """
import json, sys
from daemoneye_eventbus import wire, DecodeError, ProcessEvent, CollectionEvent
out = {}
for dialect, text in json.load(sys.stdin):
    try:
        value = wire.decode(CollectionEvent, bytes.fromhex(text), dialect)
        out[dialect + text] = value.pid
    except DecodeError as error:
        out[dialect + text] = "DecodeError"
print(json.dumps(out))
"""
    tail = b"\2sh\0\0\0\0\0"
    tries = [
        ("bincode", (b"\0\xfb\x05\0" + tail).hex()),
        ("bincode", (b"\0\xfd\x05" + b"\0" * 7 + tail).hex()),
        ("postcard", (b"\0\x85\x80\x80\x80\x80\x00" + tail).hex()),
        ("postcard", (b"\0\xff\xff\xff\xff\x1f" + tail).hex()),
    ]
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(tries), capture_output=True, text=True, timeout=20, check=False
    )
    said = list(json.loads(done.stdout).values())
    assert set(said) <= {5, "DecodeError"}, said
    assert said[2:] == ["DecodeError"] * 2
    seen(f"over-long integers: {said}")
