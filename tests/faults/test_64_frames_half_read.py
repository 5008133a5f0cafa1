"""Fault 64, beyond the catalogue. Frames that are begun at full size, and never end."""

import contextlib
import selectors
import socket
import struct
import threading
import time

import pytest
from harness import MIB, TIMES, scaled, times, until

from raw import Message, framed, process_event

# Of hundreds of busy peers each has a turn of some 20 us before the canary has one.
BESIDE_HUNDREDS_MS = 50.0
pytestmark = [
    pytest.mark.fault(
        64,
        "H",
        "beyond the catalogue: 500 connections each send all but one byte of the largest frame; publishers wait with large frames",
        "together they take a quarter of total_queue_bytes and 32 KiB each; frames that come whole wait and are not lost; "
        "publishers who wait take as much again, and nothing from others",
    ),
    pytest.mark.quick,
    pytest.mark.limit(180),
]
LARGEST = MIB
ROOM = 64 * MIB
"""A quarter of the default of total_queue_bytes."""


def allowed(count):
    """MiB: the room, and what each connection may hold besides, with half as much for the allocator's gaps."""
    return 1.5 * (ROOM + count * 2 * 16384) / MIB + 32


class Holders:
    """Connections that send, as far as they are read, all of a frame but its last byte; a thread of their own does it."""

    def __init__(self, peers, size=LARGEST, frame=None):
        frame = memoryview(frame or struct.pack("<I", size) + b"\x10" * (size - 1))
        self.left = dict.fromkeys((peer.sock for peer in peers), frame)
        self.cut = 0
        self.selector = selectors.DefaultSelector()
        for sock in self.left:
            sock.setblocking(False)
            self.selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while not self.over.is_set() and self.left:
            for key, what in self.selector.select(0.05):
                self._step(key.fileobj, what)

    def _step(self, sock: socket.socket, what):
        try:
            if what & selectors.EVENT_READ and not sock.recv(65536):
                raise ConnectionResetError
            if what & selectors.EVENT_WRITE:
                self.left[sock] = self.left[sock][sock.send(self.left[sock][: 1 << 16]) :]
                if not self.left[sock]:
                    self.selector.modify(sock, selectors.EVENT_READ)
        except BlockingIOError:
            return
        except ConnectionError:
            self.cut += 1
            self.selector.unregister(sock)
            del self.left[sock]

    def stop(self):
        self.over.set()
        self.thread.join()
        self.selector.close()


def test_what_all_hold_together_is_bounded(bench, seen):
    count = times(scaled(200, 500))
    b = bench({"max_connections": 16384, "frame_timeout": 60.0})
    reader = b.reader()
    peers = [b.connected(client="holder") for _ in range(count)]
    # What a connection itself costs is another matter.
    before = b.grown()
    holders = Holders(peers)
    try:
        most, held = 0.0, 0
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            most = max(most, b.grown())
            held = max(held, b.statistics()["unfinished_bytes"])
        # Frames of the same size that come whole have their turn.
        done = b.flood(count=5, size=900_000, config={"publish_timeout": 60 * max(1, TIMES)}).json(60 * max(1, TIMES))
        got = reader.ask(expect=5, within=10, timeout=30)
        most = max(most, b.grown())
        assert (done["errors"], got["received"], got["missing"]) == ({}, 5, 0), (done, got)
        # As many as there is room for may stay until the deadline of their frames.
        until(lambda: b.refused("unfinished_frame") >= count - 65, 30 * max(1, TIMES), "cut, as others waited")
        how = b.undisturbed(allowed=BESIDE_HUNDREDS_MS)
        now = b.statistics()
    finally:
        holders.stop()
    assert min(ROOM, count * LARGEST) / 2 < held <= ROOM, held
    assert now["unfinished_bytes"] <= ROOM
    # What is held grows in steps, between which the allocator has gaps.
    assert most - before < allowed(count), (most, before)
    assert now["refused"].get("panic", 0) == now["refused"].get("frame_timeout", 0) == 0
    b.hang_up()
    reader.close()
    b.children.remove(reader)
    until(lambda: b.statistics()["unfinished_bytes"] == 0, 5, "all given back")
    seen(
        f"{count} frames of 1 MiB without their last byte: {held / MIB:.0f} MiB set aside, {most:+.0f} MiB at most; "
        f"{now['refused'].get('unfinished_frame', 0)} cut; {how}"
    )


def test_small_frames_need_no_room(bench, seen):
    """With all room taken by others who wait for nobody, frames of 12 KiB pass without delay."""
    b = bench({"total_queue_bytes": MIB, "frame_timeout": 60.0, "max_connections": 200})
    holders = Holders([b.connected(client="holder") for _ in range(2)])
    try:
        until(lambda: b.statistics()["unfinished_bytes"] > 2 * MIB, 5, "all room taken")
        reader = b.reader()
        done = b.flood(count=500, rate=1000, size=12_000, config={"congestion": "block"}).json(30)
        got = reader.ask(expect=500, within=10, timeout=30)
        assert (done["errors"], got["received"]) == ({}, 500), (done, got)
        assert b.refused("unfinished_frame") == 0
        how = b.undisturbed()
    finally:
        holders.stop()
    seen(f"room of 2 MiB taken: 500 of 500 events of 12 KB pass; {how}")


def test_before_connect_it_is_bounded_too(bench, seen):
    """The first frame of a peer of the original may be as large; whoever is in the way of others is cut as soon as after CONNECT."""
    count = times(scaled(200, 500))
    b = bench({"max_connections": 16384})
    holders = Holders([b.dial() for _ in range(count)])
    try:
        most = 0.0
        end = time.monotonic() + 3.0
        while time.monotonic() < end:
            most = max(most, b.grown())
            time.sleep(0.02)
        until(lambda: holders.cut == count, 10 * max(1, TIMES), "cut, as others waited, or at handshake_timeout")
        # The last of them are in nobody's way.
        assert b.refused("unfinished_frame") >= count - 2 * 65
        how = b.undisturbed(allowed=BESIDE_HUNDREDS_MS)
    finally:
        holders.stop()
    assert most < allowed(count), most
    seen(f"{count} before CONNECT: {most:+.0f} MiB at most, all cut; {how}")


def test_who_waits_for_a_full_queue_takes_no_more_and_nothing_from_others(bench, seen):
    """Publishers of large frames whose reader takes a little now and then, so that it does not count as stalled."""
    count = times(scaled(100, 200))
    b = bench({"total_queue_bytes": MIB, "max_connections": 16384})
    slow = b.connected(queue_messages=1)
    slow.subscribe(1, "events.slow.#")
    frame = framed(Message("events.slow.x", process_event(1, "x" * (LARGEST - 200))).encode())
    before = b.grown()
    holders = Holders([b.connected(congestion="block") for _ in range(count)], frame=frame * 2)
    try:
        most = 0.0
        end = time.monotonic() + 4.0
        while time.monotonic() < end:
            slow.sock.recv(1 << 18)
            for _ in range(20):
                most = max(most, b.grown())
                time.sleep(0.02)
        held = b.statistics()["unfinished_bytes"]
        other = b.connected()
        other.subscribe(1, "events.process.#")
        began = time.monotonic()
        other.write(framed(Message("events.process.new", process_event(2, "x" * 60_000)).encode()))
        assert other.message().topic == "events.process.new"
        took = time.monotonic() - began
        how = b.undisturbed(allowed=BESIDE_HUNDREDS_MS)
    finally:
        holders.stop()
    # One in the queue, and the room twice, which is two frames where there is so little.
    most -= before
    assert most < 1.5 * (5 * MIB + count * 2 * 16384) / MIB + 32, most
    assert held > MIB, held
    assert took < 1, took
    seen(f"{count} wait with 1 MiB each: {most:+.0f} MiB; another's 60 kB take {took * 1000:.0f} ms; {how}")


def test_who_waits_for_his_rate_takes_no_room(bench, seen):
    """Frames above `rate_limit` wait for minutes, and nobody else waits for them who is within it."""
    rate = {"bytes_per_second": 10_000.0, "burst": 20.0}
    b = bench({"total_queue_bytes": MIB, "rate_limit": rate}, canary=False)
    frame = framed(Message("events.process.new", process_event(1, "x" * (LARGEST - 200))).encode())
    greedy = [b.connected(congestion="block") for _ in range(4)]
    for peer in greedy:
        peer.write(frame)
    until(lambda: b.statistics()["messages_published"] == len(greedy), 5, "each has spent more than it may")
    for peer in greedy:
        peer.sock.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            peer.write(frame)
    modest = b.connected(congestion="block")
    began = time.monotonic()
    modest.write(framed(Message("events.process.new", process_event(2, "x" * 60_000)).encode()))
    modest.barrier()
    took, now = time.monotonic() - began, b.statistics()
    assert took < 1, took
    assert (now["messages_published"], now["refused"]) == (len(greedy) + 1, {}), now
    seen(
        f"{len(greedy)} wait with {now['unfinished_bytes'] / MIB:.1f} MiB set aside; another's 60 kB take {took * 1000:.0f} ms"
    )


@pytest.mark.parametrize("connects", [True, False])
def test_a_broker_that_was_stopped_gives_who_it_stopped_their_time(bench, seen, connects):
    """Their frames take all the room and others wait, but it was the broker that did not read."""
    b = bench({"total_queue_bytes": MIB, "max_frame": MIB}, canary=False)
    frame = framed(Message("events.process.new", process_event(1, "x" * (LARGEST - 200))).encode())
    begun = [b.connected() if connects else b.dial() for _ in range(2)]
    waiting = [b.connected() for _ in range(2)]
    for peer in (*begun, *waiting):
        peer.write(frame[: 1 << 17])
    until(lambda: b.statistics()["unfinished_bytes"] > MIB, 5, "all room taken")
    b.broker.freeze()
    time.sleep(4)
    b.broker.thaw()
    for peer in begun:
        peer.write(frame[1 << 17 :])
    until(lambda: b.statistics()["messages_published"] == len(begun), 5, "both published")
    assert b.refused("handshake_timeout") == b.refused("unfinished_frame") == 0
    seen(f"{'after' if connects else 'before'} CONNECT: both frames come whole after a stop of 4 s")
