"""Bytes that do not decode: one ERR, closed, nothing half accepted, the broker alive."""

import random
import struct
import time

import psutil
import pytest

import raw as wire
from support import LONG

GOOD = wire.process_message(1)
EVENT = wire.process_event(1)


def with_payload(payload: bytes) -> bytes:
    return wire.Message("events.process.new", payload).encode()


MALFORMED = {
    "empty": b"",
    "unknown first byte": b"\x7f" + GOOD[1:],
    "lower case verb": b"sub {}",
    "half a verb": b"S\xff\xfe",
    "bad json": b"SUB {",
    "json array": b"SUB [1]",
    "json twice": b'SUB {"id":1}{"id":2}',
    "no id": b"SUB {}",
    "negative id": b'UNSUB {"id":-1}',
    "second connect": b'CONNECT {"protocol":1,"client":"x","dialect":"bincode"}',
    "text of 64 KiB + 1": b'SUB {"x":"' + b"x" * 65_600 + b'"}',
    "envelope cut": GOOD[:-1],
    "envelope with a byte more": GOOD + b"\0",
    "unknown message type": GOOD[:-1] + b"\4",
    "payload cut": with_payload(EVENT[:-1]),
    "payload with a byte more": with_payload(EVENT + b"\0"),
    "payload empty": with_payload(b""),
    "unknown event": with_payload(b"\5" + EVENT[1:]),
    "option tag 2": with_payload(b"\0\1\2sh\2\0\0\0\0"),
    "name not utf-8": with_payload(b"\0\1\2\xff\xfe\0\0\0\0\0"),
    "string of 2^35": with_payload(b"\0\1\xfd" + struct.pack("<Q", 1 << 35) + b"x"),
    "string of 2^63": with_payload(b"\0\1\xfd" + struct.pack("<Q", 1 << 63) + b"x"),
    "map of 2^60": with_payload(b"\0\1\2sh\0\0\0\0\xfd" + struct.pack("<Q", 1 << 60)),
    "topic of 2^40": GOOD[:17] + b"\xfd" + struct.pack("<Q", 1 << 40),
    "topic not utf-8": GOOD[:18] + b"\xff" + GOOD[19:],
    "two events": with_payload(EVENT + EVENT),
}


@pytest.mark.parametrize("frame", MALFORMED.values(), ids=MALFORMED.keys())
async def test_malformed_frames_are_answered_and_closed(broker, path, raw, frame):
    watcher, peer = raw(path), raw(path)
    watcher.connect()
    watcher.subscribe(1, "#", include_control=True)
    peer.connect()
    peer.send(frame)
    said = peer.closed()
    assert said is not None
    assert said["code"]
    assert said["message"]
    assert watcher.barrier() == [], "never half accepted"


@pytest.mark.parametrize("frame", [b"SUB {}", b"AUTH {}", b"BYE", b"STATS {}", b"GET / HTTP/1.1", b"\x16\x03\x01"])
async def test_anything_before_connect_is_closed(broker, path, raw, frame):
    peer = raw(path)
    peer.send(frame)
    peer.closed()
    assert broker.clients() == []


async def test_every_cut_of_a_frame(broker, path, raw):
    """A message cut at any offset is an error; the broker lives on and a whole one passes."""
    for length in range(1, len(GOOD)):
        peer = raw(path)
        peer.connect()
        peer.send(GOOD[:length])
        assert peer.closed() is not None, length
        peer.close()
    peer = raw(path)
    peer.connect()
    peer.subscribe(1, "#")
    peer.send(GOOD)
    assert len(peer.barrier()) == 1


async def test_any_split_of_the_bytes(broker, path, raw):
    peer = raw(path)
    peer.connect()
    peer.subscribe(1, "#")
    stream = wire.framed(*[GOOD] * 3)
    for byte in stream:
        peer.write(bytes([byte]))
    assert len(peer.barrier()) == 3
    peer.send(*[GOOD] * 1000)
    assert len(peer.barrier()) == 1000


@pytest.mark.limit(60)
async def test_mutated_frames(path, program, raw):
    """Random damage to good frames: the broker stays, answers others, and does not grow."""
    rng = random.Random(20261123)
    broker = program("broker.py", path)
    await broker.answer()
    seeds = [
        GOOD,
        wire.Message("control.trigger.request", wire.trigger_request("r", "t", 1), 1, 1).encode(),
        b'SUB {"id":1,"subscriber_id":"s","topic_patterns":["events.#"]}',
        b'UNSUB {"id":1}',
        b'STATS {"id":9}',
        b"PING",
        b'DROPPED {"subscriptions":{"1":5}}',
    ]
    watcher = raw(path)
    watcher.connect()
    base = psutil.Process(broker.pid).memory_info().rss
    end = time.monotonic() + (300 if LONG else 5)
    tried = 0
    while time.monotonic() < end:
        peer = wire.Raw(path)
        peer.connect()
        for _ in range(20):
            frame = bytearray(rng.choice(seeds))
            for _ in range(rng.randint(1, 4)):
                where = rng.randrange(len(frame) + 1)
                match rng.randrange(4):
                    case 0:
                        frame[where : where + 1] = bytes([rng.randrange(256)])
                    case 1:
                        frame[where:where] = rng.randbytes(rng.randint(1, 9))
                    case 2:
                        del frame[where : where + rng.randint(1, 4)]
                    case 3:
                        tag = rng.choice((251, 252, 253, 254, 255))
                        frame[where : where + 9] = bytes([tag]) + rng.randbytes(8)
            tried += 1
            try:
                peer.send(bytes(frame))
            except OSError:
                break
        peer.close()
        if tried % 1000 < 20:
            assert watcher.barrier() == []
    assert tried > 500
    assert watcher.barrier() == []
    assert psutil.Process(broker.pid).memory_info().rss - base < 64 << 20
    broker.finish()
