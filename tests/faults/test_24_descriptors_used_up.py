"""Fault 24. No descriptors left."""

import socket
import time

import pytest
from harness import scaled, times, until

pytestmark = [
    pytest.mark.fault(
        24,
        "H",
        "RLIMIT_NOFILE 64, 200 clients",
        "connected ones undisturbed, CPU below 10 %, 1 log line, recovers within 1 s",
    ),
    pytest.mark.limit(60),
]


def test_without_descriptors_it_neither_spins_nor_forgets(bench, path, seen):
    b = bench({"original_peers": False, "handshake_timeout": 30}, options={"limits": {"RLIMIT_NOFILE": 64}})
    held = []
    for _ in range(max(100, times(200))):
        one = socket.socket(socket.AF_UNIX)
        one.connect(path)
        held.append(one)
    until(lambda: b.refused("accept") > 0, what="accept refused")
    b.undisturbed()
    seconds = scaled(2, 10)
    before = b.reading().cpu
    time.sleep(seconds)
    used = (b.reading().cpu - before) / seconds
    # The canary's own 100 events a second are in it.
    calm = b.undisturbed()
    assert used < 0.1, used
    lines = [line for line in b.log() if "cannot accept" in line]
    assert 1 <= len(lines) <= seconds + 3, lines
    for one in held:
        one.close()
    begin = time.monotonic()
    peer = b.dial()
    peer.connect()
    took = time.monotonic() - begin
    assert took < 1.3, took
    seen(f"CPU {used:.1%}, {len(lines)} log lines, back after {took:.2f} s; {calm}")
