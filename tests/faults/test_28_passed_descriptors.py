"""Fault 28. Descriptors sent along with the bytes."""

import array
import socket
import struct

import pytest
from harness import scaled, times

pytestmark = [
    pytest.mark.fault(
        28,
        "M",
        "200 fds passed by SCM_RIGHTS with each byte, 1,000 times",
        "broker fd count flat (plain reads drop them)",
    ),
    pytest.mark.quick,
    pytest.mark.limit(60),
]


def test_passed_descriptors_do_not_stay(bench, seen):
    b = bench()
    peer = b.connected()
    with open("/dev/null") as null:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null.fileno()] * 200))
        before = b.reading().fds
        sent = most = 0
        stream = (struct.pack("<I", 4) + b"PING") * (times(scaled(200, 1000)) // 8)
        for at in range(len(stream)):
            peer.sock.sendmsg([stream[at : at + 1]], [rights])
            sent += 1
            if at % 50 == 0:
                most = max(most, b.reading().fds)
        for _ in range(len(stream) // 8):
            assert peer.hear()[0] == "PONG"
    assert most <= before + 1
    assert b.reading().fds == before
    seen(f"{sent} x 200 passed, {before} descriptors before and after; {b.undisturbed()}")
