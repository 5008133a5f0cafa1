"""Fault 62, beyond the catalogue. A client that is let in, breaks no rule of the protocol, and wants the broker for itself."""

import contextlib
import socket
import threading
import time

import pytest
from harness import MIB, TIMES, freeze, scaled, times, until

from raw import Message, framed, process_event
from support import NOBODY

pytestmark = [
    pytest.mark.fault(
        62,
        "H",
        "an allowed client with filters that cost much, with lists of readers that are long, with questions or connects without end, in every seat for peers of the original",
        "filters bounded for each client in terms and bytes; others have their turn; one seat is left",
    ),
    pytest.mark.quick,
    pytest.mark.limit(120),
]
NO_CORRELATION = {
    "correlation_ids": [],
    "correlation_patterns": [],
    "parent_correlation_ids": [],
    "root_correlation_ids": [],
    "workflow_stages": [],
    "required_tags": {},
    "any_tags": {},
}


def test_filters_are_bounded_for_each_client(bench, seen):
    b = bench()
    peer = b.connected()
    taken, said = 0, {}
    while not said:
        patterns = [f"*{taken}x{number}y*" for number in range(256)]
        peer.sub(taken + 1, "events.#", correlation_filter={**NO_CORRELATION, "correlation_patterns": patterns})
        verb, fields = peer.hear()
        taken, said = (taken + 1, {}) if verb == "OK" else (taken, fields)
    assert (taken, said["code"], said["limit"]) == (16, "subscription_refused", 4096), said
    # What the patterns are tried on is as long as the publisher likes.
    publisher = b.connected()
    worst = 0.0
    for length in (36, 1024, 1025, 400_000):
        begin = b.reading().cpu
        publisher.send(Message("events.process.new", process_event(1), correlation="0" * length).encode())
        assert publisher.barrier() == []
        worst = max(worst, b.reading().cpu - begin)
    # What the broker computes: other programs that use the processor are no fault of the filters.
    assert worst < 0.5, worst
    # Once closed they count no more.
    peer.say("UNSUB", id=1)
    peer.expect("OK")
    peer.sub(99, "events.#", correlation_filter={**NO_CORRELATION, "correlation_patterns": ["a*"] * 256})
    assert peer.expect("OK")["id"] == 99
    seen(
        f"{taken * 256} patterns taken, ids of 400 kB tried in {worst * 1000:.0f} ms of the broker's time; {b.undisturbed()}"
    )


def test_what_filters_keep_is_bounded_in_bytes(bench, seen):
    b = bench()
    refused, clients = 0, times(8)
    for _ in range(clients):
        peer = b.connected()
        for number in range(64):
            peer.sub(number, "health.#", event_filter={"source_collectors": ["x" * 60_000]})
            verb, fields = peer.hear()
            assert verb == "OK" or fields["limit"] == 1 << 20, fields
            refused += verb == "ERR"
    assert refused == clients * (64 - 17)
    assert b.grown() < 30 * max(1, TIMES), b.grown()
    seen(f"{clients} clients offered {4 * clients} MB of filters: {b.grown():+.1f} MiB; {b.undisturbed()}")


def test_what_publishers_remember_of_their_readers_is_bounded(bench, seen):
    """Each topic leads to thousands of subscriptions, which are others for each topic."""
    b = bench()
    readers, patterns, topics = 16, 1000, 1000
    for _ in range(readers):
        subscribe(b.connected(), ["events.many.#"] * patterns)
    subscribe(b.connected(), [f"events.many.t{number}" for number in range(topics)])
    before = b.grown()
    for _ in range(2):
        publisher = b.connected()
        for number in range(0, topics, 50):
            for one in range(number, number + 50):
                publisher.send(Message(f"events.many.t{one}", process_event(one)).encode())
            publisher.barrier()
    grown = b.grown() - before
    # The lists of all routes together would be 250 MiB.
    assert grown < 60, grown
    seen(f"{2 * topics} routes of {readers * patterns} subscriptions: {grown:+.1f} MiB; {b.undisturbed(latency=False)}")


def subscribe(peer, patterns):
    for start in range(0, len(patterns), 100):
        for number, pattern in enumerate(patterns[start : start + 100], start):
            peer.sub(number, pattern)
        for _ in patterns[start : start + 100]:
            peer.expect("OK")


def test_questions_without_end_leave_others_their_turn(bench, seen):
    b = bench()
    for _ in range(times(100)):
        b.connected()
    greedy, other = b.connected(), b.connected()
    question = b'STATS {"id":1}'
    count = 14_000
    answered = 0

    def read():
        nonlocal answered
        tail = b""
        while answered < count:
            got = tail + greedy.sock.recv(1 << 20)
            answered += got.count(b"OK {")
            tail = got[-3:]

    greedy.sock.settimeout(60)
    thread = threading.Thread(target=read)
    thread.start()
    greedy.write(framed(question) * count)
    asked = answered
    other.say("PING")
    other.expect("PONG")
    waited = answered - asked
    thread.join()
    assert waited < (count - asked) / 2, (asked, waited)
    seen(f"another client waited for {waited} of {count - asked} questions; {b.undisturbed()}")


def test_questions_of_many_connections(bench, seen):
    """The canary is judged by `make faults`."""
    b = bench()
    floods = [b.connected() for _ in range(times(4))]
    question = framed(b'STATS {"id":1}')
    end = time.monotonic() + scaled(1.0, 5.0)
    done = threading.Event()

    def ask(peer):
        with contextlib.suppress(OSError):
            while time.monotonic() < end:
                peer.write(question * 500)

    def read(peer):
        with contextlib.suppress(OSError):
            while not done.is_set():
                peer.sock.recv(1 << 20)

    for peer in floods:
        peer.sock.settimeout(1)
    threads = [threading.Thread(target=work, args=(peer,)) for peer in floods for work in (ask, read)]
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        time.sleep(0.05)
    how = b.undisturbed()
    done.set()
    for thread in threads:
        thread.join()
    seen(f"{times(4)} connections asked for {scaled(1, 5)} s; {how}")


def test_newcomers_without_end_leave_others_their_turn(bench, seen):
    """While the broker stands still they come, and everybody who is connected asks it how many it has turned away."""
    newcomers = times(500)
    b = bench({"max_connections": 64}, canary=False)
    connected = [b.connected() for _ in range(64)]
    with contextlib.ExitStack() as knocking:
        freeze(b.broker.pid)
        for _ in range(newcomers):
            knocking.enter_context(contextlib.closing(socket.socket(socket.AF_UNIX))).connect(b.path)
        for peer in connected:
            peer.say("STATS", id=1, detail=True)
        b.broker.thaw()
        before = [peer.expect("OK")["detail"]["refused"].get("busy", 0) for peer in connected]
        until(lambda: b.refused("busy") == newcomers, what="turned away")
    assert max(before) < newcomers / 2, before
    seen(f"of {newcomers} newcomers {max(before)} came before the last of 64 who were connected already")


def test_newcomers_that_hang_up_at_once_leave_nothing(bench, seen):
    """As many as the listener's queue takes, again and again; each is let in, and gone before its first turn."""
    b = bench()
    rounds, each = 5, 4000
    until(lambda: b.canary_report()["count"] > 0, what="canary")
    before = b.reading().rss
    for _ in range(rounds):
        freeze(b.broker.pid)
        with contextlib.suppress(BlockingIOError):
            for _ in range(each):
                with contextlib.closing(socket.socket(socket.AF_UNIX)) as one:
                    one.setblocking(False)
                    one.connect(b.path)
        b.broker.thaw()
        b.back_to_base(within=10)
    came = b.refused("handshake_incomplete") + b.refused("busy")
    assert came > rounds * 100, came
    grown = (b.reading().rss - before) / MIB
    seen(f"{came} came and went: {grown:+.1f} MiB; {b.undisturbed(latency=False)}")
    assert grown < 4, grown


SILENT = """
import time
held = []
for _ in range(int(sys.argv[2])):
    one = socket.socket(socket.AF_UNIX)
    one.connect(sys.argv[1])
    held.append(one)
time.sleep(1.5)
still = 0
for one in held:
    # Who has a seat is sent what the canary publishes.
    still += b"ERR" not in one.recv(4096)
print(json.dumps(still), flush=True)
sys.stdin.readline()
"""


def test_one_uid_leaves_a_seat_for_a_peer_of_the_original(bench, open_folder, seen, as_root):
    config = {
        "allowed_uids": [NOBODY],
        "socket_mode": 0o660,
        "socket_group": NOBODY,
        "max_original_peers": 4,
        "handshake_timeout": 0.5,
    }
    b = bench(config, path=str(open_folder / "b.sock"))
    (open_folder / "silent.py").write_text("import json, os, socket, sys\n" + SILENT)
    silent = b.start(str(open_folder / "silent.py"), b.path, "12", user=NOBODY)
    assert silent.json() == 3
    until(lambda: b.refused("busy_original") == 9, what="refusals")
    mine = b.dial()
    mine.send(b"PING")
    assert mine.receive() == b"PONG"
    silent.close()
    seen(f"uid {NOBODY} got 3 of 4 seats with 12 silent connections; {b.undisturbed()}")
