"""Fault 20. Many frames that cost their sender nothing."""

import contextlib
import socket
import threading
import time

import pytest
from harness import scaled, times

from raw import HEARTBEAT, Message, framed

pytestmark = [
    pytest.mark.fault(
        20,
        "M",
        "1 M zero-length or heartbeat frames on one connection",
        "rate limit or cut; undisturbed",
    ),
    pytest.mark.limit(120),
]


def test_zero_length_frames_are_cut_at_the_first(bench, seen):
    b = bench()
    peer = b.connected()
    with contextlib.suppress(OSError):
        peer.write(b"\0\0\0\0" * times(scaled(100_000, 1_000_000)))
    said = peer.closed()
    assert said is None or said["code"] == "protocol", said
    assert b.refused("protocol") == 1
    seen(f"zero length: cut at the first; {b.undisturbed()}")


def test_a_flood_of_pings_is_held_back(bench, seen):
    """Every PING is answered, unsent answers stop the reading of that connection, and nobody else notices."""
    b = bench()
    peer = b.connected()
    total = times(scaled(100_000, 1_000_000))
    ping = framed(b"PING")

    def send():
        sent = 0
        while sent < total:
            count = min(5000, total - sent)
            peer.sock.sendall(ping * count)
            sent += count

    peer.sock.settimeout(90)
    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    time.sleep(1)  # nobody reads: it must stop
    grown = b.grown()
    assert grown < 10, grown
    got = 0
    while got < total:
        data = peer.sock.recv(1 << 16, socket.MSG_WAITALL if total * 8 - got * 8 >= 1 << 16 else 0)
        assert data
        got += len(data) / 8
    thread.join(30)
    assert got == total
    seen(f"{total} PINGs answered in turn, +{grown} MiB while unread; {b.undisturbed()}")


def test_heartbeat_messages_are_refused(bench, seen):
    b = bench()
    peer = b.connected()
    total = times(scaled(20, 200)) * 1000
    frame = framed(Message("health.x", b"", type=HEARTBEAT).encode())

    def send():
        for _ in range(total // 1000):
            peer.sock.sendall(frame * 1000)
        peer.send(b"PING")

    threading.Thread(target=send, daemon=True).start()
    peer.sock.settimeout(60)
    told = 0
    while (said := peer.hear())[0] != "PONG":
        assert said[0] == "ERR"
        assert said[1]["code"] == "message_type"
        told += said[1].get("count", 1)
    assert told == total == b.refused("message_type")
    seen(f"{total} heartbeats refused and told; {b.undisturbed()}")
