"""A broker's totals and clients, asked from other processes: the same on both ways, paged, for its own user only."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import uuid
from contextlib import contextmanager
from dataclasses import replace

import pytest

import raw as wire
from daemoneye_eventbus import (
    Broker,
    BrokerConfig,
    ClientConfig,
    ConnectionClosed,
    EventBus,
    ProcessEvent,
    ProtocolError,
)
from support import NOBODY, Pair, collect, eventually

LARGEST_TEXT = 64 * 1024
SOLO = ClientConfig(pool=False, client="solo")


def totals(told):
    """All but the uptime: a second may end between one who is asked and the next."""
    return replace(told, uptime_seconds=0)


async def test_all_totals_on_both_ways(pair: Pair):
    async with pair.sub.subscribe("events.#") as events:
        for pid in range(5):
            await pair.pub.publish(ProcessEvent(pid, "sh"))
        await collect(events, 5)
        assert totals(await pair.pub.broker_statistics()) == totals(pair.broker.statistics())
        told = await pair.sub.clients()
        assert told == sorted(pair.broker.clients(), key=lambda client: client.id)
        assert sum(client.published for client in told) == 5
        assert sum(client.delivered for client in told) == 5
        assert [client.subscriptions for client in told if client.subscriptions] == [1]
        assert {client.pid for client in told} == {os.getpid()}


async def test_drops_and_refusals_are_told_by_reason(path, raw):
    async with Broker(path) as broker, EventBus.connect(path, config=SOLO) as bus:
        # A reader that does not read: one large event fills its queue of one, the next ones push each other out.
        reader = raw(path)
        reader.connect("slow", queue_messages=1)
        reader.subscribe(1, "events.#")
        large = ProcessEvent(1, "x" * 400_000)
        for _ in range(8):
            await bus.publish(large)
        await bus.flush()
        stranger = raw(path)
        stranger.write(b"\x00\x00\x00\x00")
        await eventually(lambda: broker.statistics().refused, what="the empty frame")
        told = await bus.broker_statistics()
        assert totals(told) == totals(broker.statistics())
        assert told.dropped["overflow"] > 0
        assert sum(told.refused.values()) == 1
        (slow,) = [client for client in await bus.clients() if client.name == "slow"]
        assert slow.dropped == told.dropped
        assert slow.queued_messages >= 1
        assert slow.queued_bytes > 400_000


async def test_many_clients_come_in_pages_that_fit_a_frame(path, raw):
    """The longest names there are, made of what JSON writes in six bytes each."""
    count = 150
    async with Broker(path, config=BrokerConfig(max_connections=count + 10)) as broker:
        for _ in range(count):
            raw(path).connect("\x01" * 256)
        async with EventBus.connect(path, config=SOLO) as bus:
            told = await bus.clients()
            assert len(told) == count + 1
            assert told == sorted(broker.clients(), key=lambda client: client.id)
        peer = raw(path)
        peer.connect()
        seen, after, pages = [], None, 0
        while True:
            peer.say("STATS", id=pages, clients=True, **({} if after is None else {"after": after}))
            body = peer.receive()
            assert len(body) <= LARGEST_TEXT
            verb, said = wire.parse_text(body)
            assert (verb, said["id"]) == ("OK", pages)
            assert said["uptime_seconds"] >= 0
            seen += [one["id"] for one in said["clients"]]
            pages += 1
            if not said.get("more"):
                break
            after = seen[-1]
        assert pages > 5
        assert seen == sorted(set(seen))
        # The bus of before may not be gone yet.
        assert len(seen) in {count + 1, count + 2}


async def test_an_id_alone_is_answered_as_ever(path, raw):
    async with Broker(path):
        peer = raw(path)
        peer.connect()
        peer.say("STATS", id=1)
        five = {"messages_published", "messages_delivered", "active_subscribers", "active_topics", "uptime_seconds"}
        assert set(peer.expect("OK")) == {"id", *five}
        peer.say("STATS", id=2, detail=False, clients=False, later=[1])
        assert set(peer.expect("OK")) == {"id", *five}
        peer.say("STATS", id=3, clients=True, after=str(uuid.UUID(int=2**128 - 1)))
        assert peer.expect("OK")["clients"] == []
        peer.say("STATS", id=4, clients=True, after="nobody")
        assert peer.expect("ERR")["code"] == "protocol"


async def test_answers_that_nobody_reads_are_bounded(path, raw):
    """They count as all answers do: the broker stops reading a client that does not read its answers."""
    async with Broker(path, config=BrokerConfig(max_connections=300)) as broker:
        for _ in range(100):
            raw(path).connect("x" * 256)
        greedy = raw(path)
        greedy.connect("greedy")
        asked = b'STATS {"id":7,"clients":true,"detail":true}'
        frame = wire.framed(asked)
        greedy.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            for _ in range(1_000_000):
                greedy.sock.send(frame)
        async with EventBus.connect(path, config=SOLO) as bus:
            (info,) = [client for client in await bus.clients() if client.name == "greedy"]
            # What is queued besides messages shows in bytes.
            assert info.queued_bytes < 200_000
            assert (await bus.broker_statistics()).queued_bytes < 400_000
        assert broker.running


@pytest.mark.usefixtures("as_root")
async def test_other_users_are_told_five_totals_only(open_folder, program, caplog):
    path = str(open_folder / "b.sock")
    config = BrokerConfig(allowed_uids=(NOBODY,), socket_mode=0o660, socket_group=NOBODY)
    async with Broker(path, config=config) as broker:
        child = program("watcher.py", path, user=NOBODY)
        said = await child.answer()
        child.finish()
    assert said["statistics"] == 0
    for call in ("broker_statistics", "clients"):
        name, uid, text = said[call]
        assert (name, uid) == ("PermissionRefused", NOBODY)
        assert "own user" in text
    assert broker.statistics().refused["not_permitted"] == 2
    told, *_more_of_the_same = [
        record for record in caplog.records if getattr(record, "reason", None) == "not_permitted"
    ]
    assert (told.uid, told.levelname) == (NOBODY, "WARNING")


@contextmanager
def telling(path, statistics):
    """A broker to one client at `path`, which answers each `STATS` with what `statistics()` gives."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def serve():
        peer = wire.Raw.of(listener.accept()[0])
        while (body := peer.receive()) is not None:
            verb, said = wire.parse_text(body)
            if verb == "CONNECT":
                peer.say("INFO", **wire.info())
            elif verb == "STATS":
                peer.say("OK", id=said["id"], **statistics())
            elif verb == "PING":
                peer.send(b"PONG")
            elif verb == "BYE":
                break
        peer.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.close()
        thread.join(10)


@pytest.mark.parametrize("answers", ["five", "nothing", "clients"])
def test_a_broker_that_tells_only_five_totals(path, run, answers):
    """As older releases do, which do not know the fields `detail` and `clients`."""
    counts = ("messages_published", "messages_delivered", "active_subscribers", "active_topics")
    told = {"nothing": {}, "clients": {"clients": []}, "five": {"uptime_seconds": 9, **dict.fromkeys(counts, 3)}}

    async def main():
        async with EventBus.connect(path, config=SOLO) as bus:
            if answers != "five":
                for ask in bus.statistics, bus.broker_statistics, bus.clients:
                    if (ask, answers) == (bus.clients, "clients"):
                        assert await ask() == []
                        continue
                    with pytest.raises(ProtocolError, match="has not answered what it was asked"):
                        await ask()
                return
            assert (await bus.statistics()).uptime_seconds == 9
            with pytest.raises(ProtocolError, match="five totals only; update it"):
                await bus.broker_statistics()
            with pytest.raises(ProtocolError, match="five totals only; update it"):
                await bus.clients()

    with telling(path, lambda: told[answers]):
        run(main())


@pytest.mark.parametrize(
    ("fresh", "peer_kind", "said_so"),
    [
        (False, "native", "repeats its clients"),
        (True, "native", "lists more than 131072"),
        (True, "\x1b[2J", "not answered what it was asked: ClientInfo.peer"),
    ],
)
def test_a_broker_that_lists_clients_as_it_likes(path, run, fresh, peer_kind, said_so):
    """The same, new ones without end, and some of a kind that there is not."""
    pages = itertools.count(1) if fresh else itertools.repeat(0)

    def page():
        first = 1000 * next(pages)
        clients = [
            {"id": str(uuid.UUID(int=number)), "name": "", "dialect": "bincode", "peer": peer_kind, "dropped": {}}
            | {
                "subscriptions": 0,
                "published": 0,
                "queued_messages": 0,
                "queued_bytes": 0,
                "delivered": 0,
                "dropped": {},
            }
            for number in range(first, first + 250)
        ]
        return {"clients": clients, "more": True}

    async def main():
        async with EventBus.connect(path, config=SOLO) as bus:
            with pytest.raises(ProtocolError, match=said_so):
                await bus.clients()

    with telling(path, page):
        run(main())


async def test_a_bus_that_was_shut_down_does_not_ask(pair: Pair):
    await pair.pub.shutdown()
    with pytest.raises(ConnectionClosed):
        await pair.pub.broker_statistics()
    with pytest.raises(ConnectionClosed):
        await pair.pub.clients()
