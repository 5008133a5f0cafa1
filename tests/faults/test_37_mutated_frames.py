"""Fault 37. A million wrong frames. The coverage-guided ones are in rust/core/fuzz; these come over the socket."""

import random
import socket
import time
from pathlib import Path

import pytest
from harness import scaled, times

from raw import Message, framed, process_event, process_message, trigger_request

pytestmark = [
    pytest.mark.fault(
        37,
        "C",
        "10^6 mutated frames over the socket",
        "no crash, hang over 1 s, or RSS over 256 MiB",
    ),
    pytest.mark.limit(900),
]
CORPUS = Path(__file__).parents[2] / "rust" / "core" / "fuzz" / "corpus" / "session"


def seeds() -> list[bytes]:
    own = [
        process_message(1),
        Message("events.process.new", process_event(2, metadata={"a": "b"}), stage="s", tags={"k": "v"}).encode(),
        Message("control.trigger.request", trigger_request("r", "p", 3, b"xy")[1:], type=1).encode(),
        b"PING",
        b'SUB {"id":1,"topic_patterns":["events.#"]}',
        b'UNSUB {"id":1}',
        b'STATS {"id":2}',
        b"BYE",
    ]
    return own + [file.read_bytes()[:4096] for file in sorted(CORPUS.glob("*"))[:200]]


def mutate(rng: random.Random, body: bytes) -> bytes:
    data = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data)) if data else 0
        match rng.randrange(6):
            case 0 if data:
                data[at] = rng.randrange(256)
            case 1 if data:
                data[at] = rng.choice((0, 1, 127, 128, 250, 251, 252, 253, 254, 255))
            case 2:
                data.insert(at, rng.randrange(256))
            case 3 if data:
                del data[at]
            case 4 if data:
                data[at:at] = data[at : at + rng.randint(1, 16)]
            case 5 if data:
                del data[at : at + rng.randint(1, 16)]
    return bytes(data)


def test_mutated_frames(bench, seen):
    b = bench()
    rng = random.Random(37)
    total = times(scaled(8000, 150_000, 1_000_000))
    known = seeds()
    hello = b'CONNECT {"protocol":1,"client":"f","dialect":"bincode"}'
    sent, slowest, connections = 0, 0.0, 0
    while sent < total:
        bodies = [mutate(rng, rng.choice(known)) for _ in range(rng.choice((1, 1, 1, 5, 20)))]
        stream = framed(*bodies)
        begin = time.monotonic()
        peer = b.dial(timeout=5)
        try:
            if rng.random() < 0.9:
                peer.send(hello)
            peer.write(stream)
            peer.sock.shutdown(socket.SHUT_WR)
            while peer.sock.recv(1 << 16):
                pass
        except ConnectionError:
            pass
        peer.close()
        slowest = max(slowest, time.monotonic() - begin)
        sent += len(bodies)
        connections += 1
        b.raws.clear()
    assert slowest < 1 + b.relay_p99 / 100, slowest
    assert b.reading().rss < 256 << 20
    b.back_to_base()
    seen(f"{sent} frames on {connections} connections, slowest {slowest:.2f} s, +{b.grown()} MiB; {b.undisturbed()}")
