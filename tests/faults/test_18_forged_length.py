"""Fault 18. Nothing is allocated from a prefix."""

import struct

import pytest
from harness import MIB, scaled, times

pytestmark = [
    pytest.mark.fault(
        18,
        "C",
        "length prefix max+1, 2^31, 2^32-1 on 1,000 connections",
        "protocol error, cut, RSS +1 MiB at most: nothing allocated from the prefix",
    ),
    pytest.mark.quick,
    pytest.mark.limit(120),
]


def test_a_forged_length_costs_the_connection_and_no_memory(bench, seen):
    b = bench()
    total = times(scaled(300, 1000))
    sizes = [(1 << 20) + 1, 1 << 31, (1 << 32) - 1]

    def round_of(count):
        for number in range(count):
            peer = b.connected() if number % 2 else b.dial()
            peer.write(struct.pack("<I", sizes[number % 3]) + b"\x10" * 64)
            said = peer.closed()
            assert said is None or said["code"] in {"frame_too_large", "protocol"}, said
            peer.close()

    round_of(60)  # warm: the allocator keeps what a first connection needs
    b.hang_up()
    before = b.reading().rss
    refused = sum(b.statistics()["refused"].values())
    round_of(total)
    b.hang_up()
    grown = (b.reading().rss - before) / MIB
    assert sum(b.statistics()["refused"].values()) - refused == total
    assert grown < 1, grown
    b.back_to_base()
    seen(f"{total} cut, {grown:+.1f} MiB; {b.undisturbed()}")
