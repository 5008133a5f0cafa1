"""Fault 16. Frames that never end."""

import time

import pytest
from harness import MIB, TIMES, scaled, times, until

pytestmark = [
    pytest.mark.fault(
        16,
        "H",
        "200 connections each send 3 of 4 length bytes, or a header then 1 byte per 5 s",
        "cut at frame deadline; RSS +10 MiB at most; counter; undisturbed",
    ),
    pytest.mark.limit(120),
]
CONNECT = b'CONNECT {"protocol":1,"client":"slow","dialect":"bincode"}'


def test_a_slow_frame_is_cut_at_its_deadline(bench, seen):
    deadline = scaled(2.0, 4.0, 10.0)
    b = bench({"frame_timeout": deadline, "original_peers": False})
    half = times(100)
    peers = [b.connected() for _ in range(2 * half)]
    begin = time.monotonic()
    for number, peer in enumerate(peers):
        peer.write(b"\x10\0\0" if number < half else (1 << 20).to_bytes(4, "little") + b"\x10")
    drip = peers[half:]
    # The last byte comes a quarter of it before the deadline.
    while time.monotonic() - begin < deadline * 0.7:
        time.sleep(deadline / 4)
        for peer in drip:
            peer.write(b"\x10")
    grown = b.grown()
    said = [peer.closed() for peer in peers]
    took = time.monotonic() - begin
    assert {item["code"] for item in said if item} == {"frame_timeout"}
    assert deadline - 0.5 < took < deadline + 2, took
    assert b.refused("frame_timeout") == 2 * half
    assert grown < 10 * max(1, TIMES), grown
    assert b.reading().rss < b.base.rss + 10 * max(1, TIMES) * MIB
    b.hang_up()
    b.back_to_base()
    seen(f"{2 * half} cut after {took:.1f} s of {deadline:g}, +{grown} MiB; {b.undisturbed()}")


def test_before_connect_the_handshake_has_its_own(bench, seen):
    b = bench({"original_peers": False})
    begin = time.monotonic()
    count = times(200)
    peers = [b.dial() for _ in range(count)]
    for peer in peers:
        peer.write(len(CONNECT).to_bytes(4, "little")[:3])
    for peer in peers:
        peer.closed()
    took = time.monotonic() - begin
    assert 1.5 < took < 4, took
    until(lambda: b.refused("handshake_timeout") == count, what="counter")
    seen(f"before CONNECT: cut after {took:.1f} s; {b.undisturbed()}")
