"""Our broker under clients and brokers of the Rust original, which know nothing of CONNECT."""

import asyncio
import contextlib
import os
import random
import socket
import threading
import time

import pytest

import raw as wire
from daemoneye_eventbus import (
    Broker,
    BrokerConfig,
    ControlMessage,
    EventBus,
    PatternError,
    PermissionRefused,
    ProcessEvent,
    Rule,
    SubscriptionRefused,
)
from original import CHECK, DIALECTS, OriginalClient, Peer, captured, whole
from support import LONG, collect, eventually, pids, process, remote_clients

TOKEN = b"token of at least sixteen bytes"
# BLAKE3 of the token and "PING", by another program.
PROOF = "a0df9ffd2790b0a144e912ba3c695008db3457ef7aae986914e8c602098159a3"


@pytest.fixture
def dial(path):
    opened = []

    def connect():
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        opened.append(sock)
        return Peer(sock)

    yield connect
    for sock in opened:
        sock.close()


async def in_thread(call, *arguments):
    return await asyncio.to_thread(call, *arguments)


def originals(broker):
    return [client for client in broker.clients() if client.peer == "original"]


async def met(broker, dial):
    """A peer that the broker has taken for one of the original."""
    known = len(originals(broker))
    peer = dial()
    assert await in_thread(peer.check) == b"PONG"
    await eventually(lambda: len(originals(broker)) == known + 1)
    return peer


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("scenario", ["client", "broker-dial-out"])
async def test_what_it_sent_reaches_subscribers(path, dial, dialect, scenario):
    frames = captured(dialect, scenario)
    wanted = [record for record in frames if record.get("event")]
    async with (
        Broker(path) as broker,
        EventBus.from_broker(broker) as bus,
        bus.subscribe("events.#", "control.#", include_control=True) as everything,
    ):
        peer = dial()
        for record in frames:
            frame = whole(record)
            peer.sock.sendall(frame[:4])
            peer.sock.sendall(frame[4:])
        got = await collect(everything, len(wanted))
        events = [item for item in got if not isinstance(item, ControlMessage)]
        assert {item.event_id for item in events} <= {record["message"]["id"] for record in wanted}
        assert events
        (info,) = originals(broker)
        assert (info.dialect, info.name) == (dialect, "")
        for _ in [record for record in frames if record.get("ascii") == "PING"]:
            assert await in_thread(peer.read, 5.0) == b"PONG"
        assert await in_thread(peer.check) == b"PONG", "its own messages are not sent back to it"


async def test_silence_then_events_one_at_a_time(path, dial):
    async with (
        # Long enough for what comes before the silence is listened to.
        Broker(path, config=BrokerConfig(handshake_timeout=2.0)) as broker,
        EventBus.from_broker(broker) as bus,
    ):
        peer = dial()
        await bus.publish(process(0))
        assert await in_thread(peer.read, 0.2) is None
        await eventually(lambda: originals(broker))
        for pid in range(1, 21):
            await bus.publish(process(pid))
        assert await in_thread(peer.read, 5.0) == b"PONG", "it has shown that it reads"
        await eventually(lambda: broker.statistics().messages_delivered == 1)
        (info,) = originals(broker)
        assert (info.dialect, info.subscriptions, info.queued_messages, info.delivered) == ("postcard", 1, 19, 1)
        # The check's answer comes before everything that is not with the kernel yet.
        peer.send(b"PING")
        first = await in_thread(peer.read, 5.0)
        assert first[0] == 0x10
        assert await in_thread(peer.read, 5.0) == b"PONG"
        for _ in range(19):
            body = await in_thread(peer.read, 5.0)
            assert body[0] == 0x10
        now = broker.statistics()
        assert (now.messages_published, now.messages_delivered, now.active_subscribers) == (21, 20, 1)


async def test_events_in_its_own_dialect_untouched(path, dial, raw):
    async with Broker(path) as broker:
        peer = dial()
        peer.send(wire.process_message(1))
        await eventually(lambda: originals(broker))
        assert originals(broker)[0].dialect == "bincode"
        publisher = raw(path)
        publisher.connect()
        body = wire.Message("events.process.new", wire.process_event(7, metadata={"a": "b" * 200})).encode()
        publisher.send(body)
        assert await in_thread(peer.first) == body


async def test_patterns_of_the_configuration_and_of_an_operator(path, dial):
    config = BrokerConfig(original_patterns=("events.process.+",))
    async with Broker(path, config=config) as broker, EventBus.from_broker(broker) as bus:
        peer = await met(broker, dial)
        (info,) = originals(broker)

        async def heard():
            await bus.publish(process(1), topic="events.network.x")
            await bus.publish(process(2))
            await bus.publish_control("control.collector", b"payload")
            bodies = []
            while (body := await in_thread(peer.read, 0.2)) is not None or originals(broker)[0].queued_messages:
                bodies.append(body)
            return [body for body in bodies if body not in {b"PONG", None}]

        assert len(await heard()) == 1
        broker.subscribe_client(info.id, ["events.network.#", "control.#"])
        assert len(await heard()) == 2
        broker.subscribe_client(info.id, [])
        assert await heard() == []
        with pytest.raises(TypeError, match="patterns"):
            broker.subscribe_client(info.id, "events.#")
        for bad in ("events.*", "health.#", "events.#.x", "events.A"):
            with pytest.raises(PatternError):
                broker.subscribe_client(info.id, [bad])
        with pytest.raises(SubscriptionRefused, match="no such client"):
            broker.subscribe_client("00000000-0000-0000-0000-000000000000", ["events.#"])
        async with EventBus.connect(path) as native:
            assert native.state == "connected"
            (other,) = [client for client in remote_clients(broker) if client.peer == "native"]
            with pytest.raises(SubscriptionRefused, match="native"):
                broker.subscribe_client(other.id, ["events.#"])
        with pytest.raises(ValueError, match="original_patterns"):
            Broker(path, config=BrokerConfig(original_patterns=("events.*",)))


async def test_patterns_set_by_an_operator_are_subject_to_rules(path, dial):
    rule = Rule(publish=[], subscribe=["events.secret.#"], allow=False)
    config = BrokerConfig(rules=[rule], original_patterns=("events.process.#", "events.secret.#"))
    async with Broker(path, config=config) as broker, EventBus.connect(path) as bus:
        peer = await met(broker, dial)
        (info,) = originals(broker)
        for asked in (["events.secret.new"], ["events.process.#", "events.#"]):
            with pytest.raises(PermissionRefused, match=r"events\.(secret|#)") as caught:
                broker.subscribe_client(info.id, asked)
            assert caught.value.uid == os.geteuid()
        # What it was sent before is not touched by a refusal, and of the configuration it gets what it may.
        await bus.publish(process(1), topic="events.secret.new")
        await bus.publish(process(2), topic="events.process.new")
        assert b"events.process.new" in await in_thread(peer.first)
        broker.subscribe_client(info.id, ["events.network.#"])
        await bus.publish(process(3), topic="events.secret.new")
        await bus.publish(process(4), topic="events.network.new")
        assert b"events.network.new" in await in_thread(peer.read, 5.0)


async def test_what_no_client_may_publish(path, dial):
    async with Broker(path) as broker, EventBus.from_broker(broker) as bus, bus.subscribe("#") as events:
        peer = await met(broker, dial)
        for kind in (wire.HEARTBEAT, wire.SHUTDOWN):
            peer.send(wire.Message("events.process.new", wire.process_event(1), type=kind).encode())
        peer.send(wire.Message("queue.b.events", wire.process_event(1)).encode())
        peer.send(b"raw payload")
        peer.send(wire.process_message(5))
        assert pids(await collect(events, 1)) == [5]
        assert await in_thread(peer.check) == b"PONG"
        refused = broker.statistics().refused
        assert (refused["message_type"], refused["topic"], refused["bare_payload"]) == (2, 1, 1)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_broker_of_the_original_that_dials_us(path, dial, dialect):
    """It reads nothing but the answers to its checks, so it is sent nothing else; nobody has to say so."""
    config = BrokerConfig(handshake_timeout=0.1, stall_timeout=0.3)
    async with (
        Broker(path, config=config) as broker,
        EventBus.from_broker(broker) as bus,
        bus.subscribe("events.#") as events,
    ):
        dialled = dial()
        await eventually(lambda: originals(broker))
        for round_ in range(5):
            for record in captured(dialect, "broker-dial-out"):
                if record.get("ascii") != "PING":
                    dialled.sock.sendall(whole(record))
            await bus.publish(process(1))
            assert len(await collect(events, 4)) == 4
            assert await in_thread(dialled.check) == b"PONG", round_
            await asyncio.sleep(0.2)
        await eventually(lambda: originals(broker)[0].subscriptions == 0)
        (info,) = originals(broker)
        assert (info.dialect, info.delivered, info.queued_messages) == (dialect, 0, 0)


async def test_damaged_frames_end_a_connection_and_nothing_else(path, dial):
    """Random damage to what the original sent, from peers that are known and from strangers."""
    rng = random.Random(20261125)
    frames = [whole(record) for dialect in DIALECTS for record in captured(dialect, "client")]
    # Places for all of them: one that is full looks at nobody.
    config = BrokerConfig(max_connections=1000, max_original_peers=900, handshake_timeout=0.2, frame_timeout=0.5)
    async with (
        Broker(path, config=config) as broker,
        EventBus.from_broker(broker) as bus,
        bus.subscribe("#", include_control=True) as events,
    ):
        witness = await met(broker, dial)

        def damage():
            for _ in range(600):
                with contextlib.closing(socket.socket(socket.AF_UNIX)) as sock:
                    sock.connect(path)
                    sock.settimeout(5)
                    for _ in range(rng.randint(1, 6)):
                        frame = bytearray(rng.choice(frames))
                        for _ in range(rng.randint(0, 3)):
                            frame[rng.randrange(len(frame))] = rng.randrange(256)
                        with contextlib.suppress(ConnectionError):
                            sock.sendall(frame[: rng.choice([len(frame), rng.randrange(len(frame))])])

        await in_thread(damage)
        # What others got through is sent to it, and its own check is answered behind what it has not read.
        witness.send(b"PING")
        while await in_thread(witness.read, 5.0) != b"PONG":
            pass
        await bus.publish(process(4711), topic="events.process.last")
        while (await events.get(timeout=5)).topic != "events.process.last":
            pass
        await eventually(lambda: len(originals(broker)) == 1)
        refused = broker.statistics().refused
        assert "panic" not in refused
        assert refused["decode"] > 50


async def test_limits(path, dial):
    config = BrokerConfig(max_original_peers=2, handshake_timeout=0.1)
    async with Broker(path, config=config) as broker:
        one = await met(broker, dial)
        two = dial()
        await eventually(lambda: len(originals(broker)) == 2)
        silent, loud = dial(), dial()
        loud.send(b"PING")
        for peer in (silent, loud):
            # One word to whoever might be native; then the end.
            assert (await in_thread(peer.read, 5.0)).startswith(b"ERR ")
            assert await in_thread(peer.closed)
        assert broker.statistics().refused["busy_original"] == 2
        assert await in_thread(one.check) == b"PONG"
        two.close()
        await eventually(lambda: len(originals(broker)) == 1)
        await met(broker, dial)


@pytest.mark.parametrize("settings", [{"original_peers": False}, {"token": TOKEN}], ids=["off", "token"])
async def test_nobody_is_served_where_originals_are_not(path, raw, settings):
    async with Broker(path, config=BrokerConfig(handshake_timeout=0.1, **settings)) as broker:
        for first in (b"PING", wire.process_message(1), None):
            peer = raw(path)
            if first is not None:
                peer.send(first)
            await in_thread(peer.closed)
        assert broker.statistics().messages_published == 0
        assert broker.clients() == []


@pytest.mark.parametrize("proof", [f"PING:{PROOF}", f"{PROOF}:PING"], ids=["client order", "broker order"])
async def test_a_token_is_proved_in_either_order(path, dial, proof):
    config = BrokerConfig(token=TOKEN, original_auth=True, handshake_timeout=0.1)
    async with (
        Broker(path, config=config) as broker,
        EventBus.from_broker(broker) as bus,
        bus.subscribe(ProcessEvent) as events,
    ):
        peer = dial()
        peer.send(wire.process_message(1))
        peer.send(b"PING")
        await bus.publish(process(2))
        assert await in_thread(peer.read, 0.4) is None
        assert originals(broker) == []
        peer.send(proof.encode())
        assert await in_thread(peer.read, 5.0) == b"PONG"
        peer.send(wire.process_message(3))
        assert pids(await collect(events, 2)) == [2, 3]
        # Every check of its client says it anew.
        peer.send(proof.encode())
        assert await in_thread(peer.read, 5.0) == b"PONG"
        assert broker.statistics().refused["unproven"] == 1
        wrong = dial()
        wrong.send(proof.replace("a0", "b0").encode())
        assert await in_thread(wrong.closed)
        assert broker.statistics().refused["authentication_failed"] == 1


async def test_a_late_connect_is_native(path, dial, raw):
    async with Broker(path) as broker, EventBus.from_broker(broker) as bus:
        late = raw(path)
        late.send(b"PONG")
        await eventually(lambda: originals(broker))
        for pid in range(10):
            await bus.publish(process(pid))
        assert await in_thread(late.receive) == b"PONG"
        await eventually(lambda: originals(broker)[0].queued_messages == 9)
        late.say("CONNECT", protocol=1, client="late")
        assert (await in_thread(late.receive))[0] == 0x10, "what the kernel had"
        assert (await in_thread(late.expect, "INFO"))["protocol"] == 1
        await in_thread(late.subscribe, 1, "events.#")
        await bus.publish(process(99))
        assert wire.decode_process((await in_thread(late.message)).payload).pid == 99
        now = broker.statistics()
        assert now.dropped["closed"] == 9
        assert now.active_subscribers == 1


async def test_a_native_client_that_connects_late(path, raw):
    """Its broker took it for an original after the time-out, and it comes right all the same."""
    async with Broker(path, config=BrokerConfig(handshake_timeout=0.1)) as broker:
        slow = raw(path)
        await eventually(lambda: originals(broker))
        await in_thread(slow.connect, "slow")
        assert originals(broker) == []
        await in_thread(slow.subscribe, 1, "events.#")


async def test_large_frames_come_whole_or_not_at_all(path, dial):
    async with Broker(path) as broker, EventBus.from_broker(broker) as bus:
        peer = await met(broker, dial)
        for size in (1000, 60_000, 120_000, 250_000):
            await bus.publish(process(1, command_line="x" * size))
        assert await in_thread(peer.read, 5.0) == b"PONG"
        for size in (1000, 60_000, 120_000):
            body = await in_thread(peer.read, 5.0)
            assert size < len(body) < size + 500
        assert await in_thread(peer.check) == b"PONG"
        assert broker.statistics().dropped["max_frame"] == 1


def publishing(path, rate, stop):
    """A program that publishes so many events a second."""

    async def main():
        async with EventBus.connect(path) as bus:
            pid = 0
            while not stop.is_set():
                await bus.publish(process(pid))
                pid += 1
                await asyncio.sleep(1 / rate)

    asyncio.run(main())


async def live(path, seconds, rate, backlog):
    """The original's client, idle or under load, for so long; gives it when it is over."""
    async with Broker(path, config=BrokerConfig()) as broker, EventBus.from_broker(broker) as bus:
        client = await in_thread(OriginalClient, path)
        stop = threading.Event()
        publisher = threading.Thread(target=publishing, args=(path, rate, stop)) if rate else None
        try:
            living = asyncio.create_task(in_thread(client.live, seconds))
            if publisher is not None:
                publisher.start()
            if backlog:
                await asyncio.sleep(CHECK - 5)
                for pid in range(backlog):
                    await bus.publish(process(pid))
            await living
            assert len(originals(broker)) == 1
        finally:
            stop.set()
            if publisher is not None:
                await in_thread(publisher.join)
            client.close()
    return client


@pytest.mark.limit(60)
async def test_its_client_lives_through_a_check_with_a_backlog(path):
    """In real time: 34 s, the check at 30 s with more waiting than it can read."""
    client = await live(path, 34, 50, 1000)
    assert client.checks == 1
    assert len(client.got) > 500


@pytest.mark.limit(660)
@pytest.mark.skipif(not LONG, reason="10 minutes; make test-original")
@pytest.mark.parametrize("rate", [0, 50], ids=["idle", "50 a second"])
async def test_its_client_stays_for_ten_minutes(path, rate):
    begin = time.monotonic()
    client = await live(path, 601, rate, 0)
    assert time.monotonic() - begin >= 600
    assert client.checks == 20
    if rate:
        assert len(client.got) > 601 * rate * 0.5
