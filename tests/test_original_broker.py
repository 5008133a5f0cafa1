"""Our client under a broker of the Rust original, which only ever sends."""

import asyncio
import contextlib
import os
import random
import socket
import time

import pytest

import raw as wire
from daemoneye_eventbus import (
    AuthenticationFailed,
    BusEvent,
    ClientConfig,
    ConnectionLost,
    ConnectTimeout,
    ControlMessage,
    EventBus,
    EventFilter,
    EventSubscription,
    ProcessEvent,
    ProtocolError,
    PublishNotSupported,
    SubscriptionRefused,
)
from original import DIALECTS, OriginalBroker, captured, whole
from raw import framed
from support import collect, eventually, pids, process, take_all

TOKEN = b"token of at least sixteen bytes"
# BLAKE3 of the token and "PING", by another program.
PROOF = b"a0df9ffd2790b0a144e912ba3c695008db3457ef7aae986914e8c602098159a3"
FAST = {"peer": "original", "reconnect_initial": 0.02, "reconnect_max": 0.2, "pool": False}


@pytest.fixture
def original(path):
    broker = OriginalBroker(path)
    yield broker
    broker.close()


async def dial(path, original, **config):
    bus = await EventBus.connect(path, config=ClientConfig(**{**FAST, **config}))
    return bus, await asyncio.to_thread(original.accept)


def events_of(frames):
    """What of captured frames is an event that this bus knows, by message id."""
    known = ("Process", "Network", "Filesystem", "Performance", "TriggerRequest")
    return {
        record["message"]["id"]: record["event"]
        for record in frames
        if record.get("event") and next(iter(record["event"])) in known
    }


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("config", DIALECTS)
@pytest.mark.parametrize("scenario", ["broker", "broker-dial-out"])
async def test_what_it_sent_arrives_wherever_it_is_split(path, original, dialect, config, scenario):
    bus, peer = await dial(path, original, dialect=config)
    everything = await bus.subscribe("events.#", "control.#", include_control=True)
    frames = captured(dialect, scenario)
    wanted = events_of(frames)
    assert wanted
    stream = b"".join(map(whole, frames))
    controls = [
        r for r in frames if r.get("message") and r["message"]["message_type"] == "Control" and not r.get("event")
    ]
    for byte in stream:
        peer.sock.sendall(bytes([byte]))
    got = await collect(everything, len(wanted) + len(controls))
    assert {item.event_id for item in got if not isinstance(item, ControlMessage)} == set(wanted)
    assert sum(isinstance(item, ControlMessage) for item in got) == len(controls)
    for frame in filter(lambda record: record.get("ascii") == "PING", frames):
        assert await asyncio.to_thread(peer.read, 5.0) == b"PONG", frame
    skipped = len(frames) - len(got) - sum(record.get("ascii") == "PING" for record in frames)
    assert bus.local_statistics()["decode_errors"] == skipped
    assert (everything.dropped, everything.gaps, bus.state) == (0, 0, "connected")
    await bus.shutdown()
    assert await asyncio.to_thread(peer.closed)


async def test_every_split_of_a_frame(path, original):
    bus, peer = await dial(path, original)
    events = await bus.subscribe("events.#")
    (first, *_) = (record for record in captured("postcard", "broker") if record.get("event"))
    frame = whole(first) + framed(b"PING")
    for cut in range(1, len(frame)):
        peer.sock.sendall(frame[:cut])
        await asyncio.sleep(0.001)
        peer.sock.sendall(frame[cut:])
        assert (await events.get(timeout=5)).event_id == first["message"]["id"]
        assert await asyncio.to_thread(peer.read, 5.0) == b"PONG"
    await bus.shutdown()


async def test_what_is_subscribed_is_matched_here(path, original):
    bus, peer = await dial(path, original)
    await asyncio.sleep(0.05)
    families = await bus.subscribe(ProcessEvent)
    filtered = await bus.subscribe(
        EventSubscription("f", topic_patterns=["events.#"], event_filter=EventFilter(pids=[2]), include_control=True)
    )
    nothing = await bus.subscribe("events.network.*")
    for pid in (1, 2, 3):
        peer.send(wire.process_message(pid))
    peer.send(wire.process_message(2, "events.other"))
    peer.send(b"raw payload")
    peer.send(b"")
    peer.send(b"\x10 that is no message")
    peer.send(wire.Message("events.process.new", wire.process_event(9), type=wire.HEARTBEAT).encode())
    peer.send(wire.Message("events.process.new", b"\xff").encode())
    assert pids(await collect(families, 3)) == [1, 2, 3]
    assert [item.topic for item in await collect(filtered, 2)] == ["events.process.new", "events.other"]
    await eventually(lambda: bus.local_statistics()["decode_errors"] == 5)
    assert take_all(nothing) == []
    assert await asyncio.to_thread(peer.check) == b"PONG"
    await families.close()
    peer.send(wire.process_message(2))
    assert pids(await collect(filtered, 1)) == [2]
    await bus.shutdown()


async def test_nothing_can_be_published_and_the_error_says_why(path, original):
    bus, peer = await dial(path, original)
    with pytest.raises(PublishNotSupported, match="reads nothing that its clients send"):
        await bus.publish(process(1))
    with pytest.raises(PublishNotSupported):
        bus.publish_nowait(process(1))
    with pytest.raises(PublishNotSupported) as refused:
        await bus.publish_many([process(1)])
    assert refused.value.accepted == 0
    with pytest.raises(PublishNotSupported):
        await bus.publish_control("control.x", b"")
    with pytest.raises(SubscriptionRefused, match="native") as unread:
        await bus.subscribe("events.#", overflow="block")
    assert str(unread.value) == f"subscription refused: {unread.value.reason}"
    assert unread.value.limit is None
    with pytest.raises(ProtocolError, match="local_statistics"):
        await bus.statistics()
    await bus.flush(timeout=1)
    assert bus.local_statistics()["published"] == 0
    begin = time.monotonic()
    await bus.drain()
    assert time.monotonic() - begin < 1
    # Not a byte was sent.
    assert await asyncio.to_thread(peer.closed)


async def test_a_busy_loop_costs_no_connection(path, original):
    """The original waits 5 s for its PONG; our supervisor answers, whatever the loop does."""
    bus, peer = await dial(path, original)
    events = await bus.subscribe("events.#")
    begin = time.monotonic()
    checking = asyncio.get_running_loop().run_in_executor(None, peer.check)
    await asyncio.sleep(0)
    time.sleep(1.5)  # nobody else runs on this loop
    assert await checking == b"PONG"
    assert time.monotonic() - begin < 3
    await events.close()
    await bus.shutdown()


async def test_checks_and_events_for_a_while(path, original):
    bus, peer = await dial(path, original)
    events = await bus.subscribe("events.#")

    def original_broker():
        for number in range(300):
            peer.send(wire.process_message(number))
            if number % 50 == 0:
                assert peer.check() == b"PONG"
            time.sleep(0.001)

    await asyncio.to_thread(original_broker)
    assert pids(await collect(events, 300)) == list(range(300))
    assert bus.local_statistics()["reconnects"] == 0
    await bus.shutdown()


async def test_a_broker_that_comes_back_is_dialled_again(path, original):
    bus, peer = await dial(path, original)
    events = await bus.subscribe("events.#")
    peer.send(wire.process_message(1))
    assert pids(await collect(events, 1)) == [1]
    peer.close()
    again = await asyncio.to_thread(original.accept)
    again.send(wire.process_message(2))
    assert pids(await collect(events, 1)) == [2]
    assert (events.gaps, bus.local_statistics()["reconnects"]) == (1, 1)
    # A frame that the protocol cannot have.
    again.sock.sendall(b"\xff\xff\xff\xff")
    third = await asyncio.to_thread(original.accept)
    third.send(wire.process_message(3))
    assert pids(await collect(events, 1)) == [3]
    await bus.shutdown()


async def test_damaged_frames_cost_a_connection_at_most(path, original):
    """Random damage to what its broker sent: what is whole before it arrives, and whoever it sends next is heard."""
    rng = random.Random(20261125)
    frames = [whole(record) for dialect in DIALECTS for record in captured(dialect, "broker")]
    config = ClientConfig(peer="original", pool=False, reconnect_initial=0.01, reconnect_max=0.01)
    bus = await EventBus.connect(path, config=config)
    events = await bus.subscribe("#", include_control=True)

    def damaged(peer):
        for _ in range(rng.randint(1, 6)):
            frame = bytearray(rng.choice(frames))
            for _ in range(rng.randint(0, 3)):
                frame[rng.randrange(len(frame))] = rng.randrange(256)
            with contextlib.suppress(ConnectionError):
                peer.sock.sendall(frame[: rng.choice([len(frame), rng.randrange(len(frame))])])

    for number in range(200):
        peer = await asyncio.to_thread(original.accept)
        with contextlib.closing(peer):
            peer.send(wire.process_message(number))
            await asyncio.to_thread(damaged, peer)
            while (got := await events.get(timeout=5)) and not (
                isinstance(got, BusEvent) and got.event == process(number)
            ):
                pass
    assert bus.local_statistics()["decode_errors"] > 50
    assert bus.local_statistics()["dropped"] == {}
    await bus.shutdown()


async def test_without_reconnect_the_end_is_the_end(path, original):
    bus, peer = await dial(path, original, reconnect=False)
    events = await bus.subscribe("events.#")
    peer.close()
    with pytest.raises(ConnectionLost):
        await events.get(timeout=5)
    await bus.shutdown()


async def test_an_end_with_something_unread_is_an_end_as_well(path, original):
    bus, peer = await dial(path, original, reconnect=False)
    events = await bus.subscribe("events.#")
    peer.send(b"PING")
    assert await asyncio.to_thread(peer.sock.recv, 1, socket.MSG_PEEK)
    peer.close()
    with pytest.raises(ConnectionLost, match="the broker closed the connection"):
        await events.get(timeout=5)
    await bus.shutdown()


async def test_the_token_is_proved_in_the_brokers_order(path, original):
    def broker():
        peer = original.accept()
        said = peer.read(5.0)
        peer.send(b"PONG")
        return peer, said

    serving = asyncio.get_running_loop().run_in_executor(None, broker)
    bus = await EventBus.connect(path, config=ClientConfig(token=TOKEN, **FAST))
    peer, said = await serving
    proof, _, rest = said.partition(b":")
    assert proof == PROOF
    assert rest
    events = await bus.subscribe("events.#")
    peer.send(wire.process_message(1))
    assert pids(await collect(events, 1)) == [1]
    assert await asyncio.to_thread(peer.check) == b"PONG"
    await bus.shutdown()


async def test_a_proof_that_is_not_taken(path, original):
    """The original closes without a word, once it has read the proof."""

    def refuse():
        peer = original.accept()
        assert peer.sock.recv(4096)
        peer.close()

    serving = asyncio.get_running_loop().run_in_executor(None, refuse)
    with pytest.raises(AuthenticationFailed):
        await EventBus.connect(path, config=ClientConfig(token=TOKEN, **FAST))
    await serving


async def test_a_broker_without_authentication_does_not_answer_a_proof(path, original):
    with pytest.raises(ConnectTimeout, match="set no token"):
        await EventBus.connect(path, config=ClientConfig(token=TOKEN, connect_timeout=1.5, **FAST))


async def test_a_native_client_is_told_of_the_option(path, original):
    with pytest.raises(ConnectTimeout, match='peer="original"'):
        await EventBus.connect(path, config=ClientConfig(connect_timeout=1.5, pool=False))


async def test_nobody_there(path):
    assert not os.path.exists(path)
    with pytest.raises(ConnectTimeout):
        await EventBus.connect(path, config=ClientConfig(connect_timeout=0.1, **FAST))
