"""A broker whose process has no memory left, while clients do all that takes some.

It lives; who sends what there is no memory for is told, or it is counted as lost; and the others go on.
"""

import contextlib
import functools
import json
import select
import sys
import time

import pytest

from raw import Message, framed, process_event, process_message
from support import TOPIC

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="an address space is limited so on Linux only")

ROOMS = (0, 1_000_000, 3_000_000)
CANARY = "events.canary"


def process(topic=TOPIC):
    return framed(process_message(0, topic))


HEAVY = framed(Message(TOPIC, process_event(1, "x" * 1_000_000)).encode())


class LowMemoryBroker:
    """The broker's program, and hand-made connections to it."""

    def __init__(self, program, raw, path, **settings):
        # All threads have one heap, so that what one holds another has not.
        self.program = program("low_memory_broker.py", path, settings, env={"MALLOC_ARENA_MAX": "1"})
        self.open = functools.partial(raw, path)
        self.ask = self.program.ask
        assert self.program.json() == {"ready": True}

    def connect(self, count=1, pattern=None, **options):
        made = []
        for _ in range(count):
            raw = self.open()
            raw.connect(**options)
            if pattern:
                raw.subscribe(1, pattern)
            made.append(raw)
        return made


def push(raw, data, patience=0.3):
    """As much as the broker takes before `patience` is over; false if it has cut the connection."""
    ends = time.monotonic() + patience
    raw.sock.setblocking(False)
    sent = 0
    while sent < len(data) and (left := ends - time.monotonic()) > 0:
        try:
            sent += raw.sock.send(memoryview(data)[sent:])
        except BlockingIOError:
            select.select([], [raw.sock], [], left)
        except OSError:
            return False
    return True


def drain(raw, patience=0.0):
    """Reads what is there, or comes before `patience` is over."""
    select.select([raw.sock], [], [], patience)
    raw.sock.setblocking(False)
    with contextlib.suppress(OSError):
        while raw.sock.recv(1 << 20):
            pass


def sub(number, patterns, event_filter=None):
    asked = {
        "id": number,
        "subscriber_id": "raw",
        "capabilities": {"event_types": [], "collectors": [], "max_priority": 0},
        "event_filter": event_filter,
        "correlation_filter": None,
        "topic_patterns": patterns,
        "enable_wildcards": True,
        "include_control": False,
    }
    return framed(f"SUB {json.dumps(asked)}".encode())


# What clients do, made ready while there is memory: each gives what it then does without.


def large_frames(broker):
    readers = broker.connect(3, "events.process.#")
    publishers = [*broker.connect(2, congestion="drop"), *broker.connect(congestion="block")]

    def go():
        for _ in range(5):
            for publisher in publishers:
                push(publisher, HEAVY)
            drain(readers[0])

    return go


def large_frames_for_other_readers(broker):
    readers = broker.connect(2, "events.process.#", dialect="postcard")
    readers += broker.connect(1, "events.process.#", max_frame=100_000)
    (filtered,) = broker.connect()
    filtered.subscribe(1, "events.process.#", event_filter={"event_types": [], "pids": [1], "metadata_filters": {}})
    publishers = [*broker.connect(congestion="drop"), *broker.connect(congestion="block")]

    def go():
        for _ in range(5):
            for publisher in publishers:
                push(publisher, process() * 20 + HEAVY + process() * 20)
            drain(readers[0])

    return go


def unfinished_frames(broker):
    some = [*broker.connect(30), *(broker.open() for _ in range(15))]

    def go():
        for one in some:
            push(one, HEAVY[:700_000], 0.02)
        time.sleep(0.2)

    return go


def short_messages_that_nobody_reads(broker):
    topics = [f"events.t{number}" for number in range(8)]
    for topic in topics:
        broker.connect(pattern=topic)
    (publisher,) = broker.connect()
    # Each is a run of its own, since its neighbours go elsewhere.
    block = b"".join(map(process, topics)) * 1000

    def go():
        for _ in range(12):
            push(publisher, block, 1)

    return go


def originals(broker):
    readers = broker.connect(2, "events.process.#")
    peers = [broker.open() for _ in range(5)]
    for peer in peers:
        peer.send(process_message(0))
    for _ in peers:
        readers[0].message()

    def go():
        for _ in range(4):
            for peer in peers:
                push(peer, HEAVY)
            drain(readers[0])

    return go


def patterns(broker):
    clients = broker.connect(8)

    def go():
        for one, client in enumerate(clients):
            for number in range(40):
                named = [f"events.p{one}x{number}x{last}.{'y' * 20}" for last in range(25)]
                push(client, sub(number, named))
                drain(client, 1)

    return go


def subscriptions_of_one_pattern(broker):
    clients = broker.connect(8)

    def go():
        for client in clients:
            for first in range(0, 1000, 50):
                push(client, b"".join(sub(number, ["events.process.+"]) for number in range(first, first + 50)))
                drain(client, 1)
        for number in range(100):
            push(clients[0], process(f"events.process.t{number}"))
            for client in clients:
                drain(client)

    return go


def filters(broker):
    clients = broker.connect(20)
    wanted = {"event_types": [], "pids": [], "metadata_filters": {f"k{at}": "v" * 700 for at in range(60)}}

    def go():
        for client in clients:
            for number in range(12):
                push(client, sub(number, ["events.+"], wanted))
                drain(client, 1)

    return go


def connections(broker):
    (publisher,) = broker.connect(pattern="events.process.#")
    connect = framed(b'CONNECT {"protocol":1,"client":"raw","dialect":"bincode"}')

    def go():
        for _ in range(250):
            one = broker.open()
            push(one, connect + sub(1, ["events.process.#"]) + HEAVY[:15_000])
            drain(one, 1)
        for number in range(100):
            push(publisher, process(f"events.process.t{number}"))

    return go


def publishes_in_the_process(broker):
    broker.connect(2, "events.process.#")
    broker.connect(1, "events.process.#", dialect="postcard")

    def go():
        assert broker.ask(do="publish", count=30)["refused"] == 0

    return go


WAYS = [
    large_frames,
    large_frames_for_other_readers,
    unfinished_frames,
    short_messages_that_nobody_reads,
    originals,
    patterns,
    subscriptions_of_one_pattern,
    filters,
    connections,
    publishes_in_the_process,
]


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_no_client_ends_a_broker_without_memory(program, raw, path, way, room):
    broker = LowMemoryBroker(program, raw, path, max_original_peers=32, queue_messages=1 << 17, queue_bytes=64 << 20)
    (canary,) = broker.connect(pattern=CANARY)
    go = way(broker)
    broker.ask(do="limit", more=room)
    go()
    told = broker.ask(do="free")
    assert told["refused"].get("no_memory", 0) + told["dropped"].get("no_memory", 0) > 0, told
    # Whoever had nothing to do with it goes on.
    canary.send(process_message(7, CANARY))
    assert canary.message().topic == CANARY
    broker.connect(pattern=CANARY)


def test_refusals_for_lack_of_memory_are_answered_and_counted(program, raw, path):
    broker = LowMemoryBroker(program, raw, path)
    (reader,) = broker.connect(pattern="events.process.#")
    sent, cut, refused = broker.connect(3)
    broker.ask(do="limit", more=0)
    broker.ask(do="hoard")
    # Whole short messages, a subscription, and a long message in parts.
    sent.write(process() * 10)
    sent.barrier()
    refused.sub(1, "events.#")
    answer = refused.expect("ERR")
    with contextlib.suppress(OSError):
        cut.write(HEAVY)
    said = cut.closed()
    told = reader.expect("DROPPED")
    now = broker.ask(do="free")
    assert (told["subscriptions"], told["reason"]) == ({"1": 10}, "no_memory")
    assert said is not None
    assert said["code"] == "busy"
    assert said["message"].startswith("there is no memory for ")
    assert (answer["id"], answer["code"]) == (1, "subscription_refused")
    assert now["messages_published"] == 10 == now["dropped"]["no_memory"]
    assert now["messages_delivered"] == 0
    assert now["refused"] == {"no_memory": 2}
