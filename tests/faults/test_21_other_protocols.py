"""Fault 21. Whatever else speaks to a socket."""

import contextlib
import random
import time

import pytest
from harness import scaled, times

pytestmark = [
    pytest.mark.fault(
        21,
        "H",
        "first bytes HTTP, TLS, 64 KiB random; 1,000 connections",
        "cut + counter by reason; log at most 1 line/s per uid, bytes escaped",
    ),
    pytest.mark.limit(120),
]
RANDOM = random.Random(21)
FIRST = {
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls": bytes.fromhex("16030100c5010000c10303") + RANDOM.randbytes(190),
    "random": RANDOM.randbytes(65536),
    "ansi": b"\x20\0\0\0\x1b[31mX\x1b]0;title\x07" + b"\n" * 40,
}


def test_other_protocols_are_cut_and_counted(bench, seen):
    b = bench({"original_peers": False})
    total = times(scaled(200, 1000))
    begin = time.monotonic()
    before = sum(b.statistics()["refused"].values())
    for number in range(total):
        name = list(FIRST)[number % len(FIRST)]
        peer = b.dial(timeout=10)
        first = FIRST[name]
        if name == "random":
            first = RANDOM.randbytes(65536)
        with contextlib.suppress(OSError):
            peer.write(first)
        said = peer.closed()
        assert said is None or said["code"] in {"protocol", "frame_too_large", "handshake_timeout"}, said
        peer.close()
    took = time.monotonic() - begin
    assert sum(b.statistics()["refused"].values()) - before >= total
    log = b.log()
    reasons = len(b.statistics()["refused"])
    assert len(log) <= (took + 2) * reasons, log
    for line in log:
        assert line.isprintable(), line
    b.hang_up()
    b.back_to_base()
    seen(f"{total} cut in {took:.1f} s, {len(log)} log lines; {b.undisturbed()}")
