"""Time-outs, liveness and flow control on the wire, with clocks short enough to watch."""

import asyncio
import json
import struct
import time

import pytest

import raw as wire
from daemoneye_eventbus import Broker, BrokerConfig, ClientConfig, EventBus
from support import collect, eventually, process, remote_clients

FRAME = wire.process_message(1)


async def test_handshake_timeout(path, raw):
    config = BrokerConfig(handshake_timeout=1.5, original_peers=False)
    async with Broker(path, config=config) as broker:
        silent = raw(path)
        begin = time.monotonic()
        good = raw(path)
        good.connect()
        assert broker.statistics().refused == {}, "a silent peer stands in nobody's way"
        silent.closed()
        assert 1.4 < time.monotonic() - begin < 3.5
        half = raw(path)
        half.write(b"\x05\0")
        begin = time.monotonic()
        half.closed()
        assert time.monotonic() - begin < 3.5
        assert good.barrier() == []


async def test_frame_timeout(path, raw):
    async with Broker(path, config=BrokerConfig(frame_timeout=0.3)):
        drip, slow, good = raw(path), raw(path), raw(path)
        for peer in (drip, slow, good):
            peer.connect()
        drip.write(wire.framed(FRAME)[:9])
        slow.write(b"\x10")
        begin = time.monotonic()
        for peer in (drip, slow):
            said = peer.closed()
            assert said is None or said["code"]
        assert 0.2 < time.monotonic() - begin < 1.5
        assert good.barrier() == []


async def test_a_pause_inside_a_frame_loses_nothing(broker, path, raw):
    peer = raw(path)
    peer.connect()
    peer.subscribe(1, "events.#")
    for cut in (1, 3, 4, 9, len(FRAME) - 1):
        data = wire.framed(FRAME)
        peer.write(data[:cut])
        await asyncio.sleep(0.15)
        peer.write(data[cut:])
    assert len(peer.barrier()) == 5


async def test_a_silent_client_is_pinged_and_then_closed(path, raw):
    config = BrokerConfig(ping_interval=0.2, ping_timeout=2.0)
    async with Broker(path, config=config) as broker:
        dead, alive = raw(path), raw(path)
        dead.connect()
        alive.connect()
        while not broker.statistics().refused:
            assert alive.expect("PING") == {}
            alive.say("PONG")
        heard = 0
        while (body := dead.receive()) is not None:
            heard += body == b"PING"
        assert heard >= 1
        assert broker.statistics().refused == {"ping_timeout": 1}
        alive.say("PONG")
        assert len(broker.clients()) == 1


async def test_a_library_client_answers_pings(path):
    config = BrokerConfig(ping_interval=0.1, ping_timeout=1.5)
    async with Broker(path, config=config), EventBus.connect(path, config=ClientConfig(pool=False)) as bus:
        async with bus.subscribe("events.#") as events:
            await asyncio.sleep(2.0)
            await bus.publish(process(1))
            assert len(await collect(events, 1)) == 1
            assert events.gaps == 0


async def test_a_client_with_full_queues_stays_alive(path):
    """It has paused its reads (block, nobody pops) and so sends PONG unasked."""
    config = BrokerConfig(ping_interval=0.1, ping_timeout=1.5)
    async with Broker(path, config=config), EventBus.connect(path, config=ClientConfig(pool=False)) as bus:
        async with bus.subscribe("events.#", overflow="block", queue_messages=10) as events:
            for number in range(500):
                await bus.publish(process(number))
            await asyncio.sleep(2.0)
            got = [i.event.pid for i in await collect(events, 500)]
            assert got == list(range(500))
            assert (events.gaps, events.dropped) == (0, 0)


async def test_answers_are_charged(broker, path, raw):
    """A client that asks and does not read is not read either, instead of filling the memory."""
    peer = raw(path, 1.0)
    peer.connect()
    burst = wire.framed(b"PING")
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 64 << 20:
            peer.sock.sendall(burst * 8192)
            sent += 8192 * 8
    assert sent < 16 << 20
    good = raw(path)
    good.connect()
    assert good.barrier() == []


async def test_dropped_stands_at_the_place_of_the_gap(path, raw):
    """drop_oldest and drop_newest, seen on the wire by a reader that pauses."""
    async with Broker(path) as broker:
        for overflow in ("drop_oldest", "drop_newest"):
            reader = raw(path)
            reader.connect(overflow=overflow, queue_messages=100)
            reader.subscribe(1, "events.#")
            reader.subscribe(2, "events.process.*")
            reader.subscribe(3, "health.#")
            count = 20_000
            async with EventBus.from_broker(broker) as bus:
                for number in range(count):
                    await bus.publish(process(number))
            reader.say("PING")
            seen, lost, expected = 0, 0, 0
            while True:
                body = reader.receive()
                assert body is not None
                if body == b"PONG":
                    break
                if body[0] == 0x10:
                    pid = wire.decode_process(wire.decode_message(body).payload).pid
                    assert pid == expected, "the gap is said before what follows it"
                    seen, expected = seen + 1, expected + 1
                    continue
                verb, fields = body.split(b" ", 1)
                assert verb == b"DROPPED"
                told = json.loads(fields)["subscriptions"]
                assert told == {"1": told["1"], "2": told["1"]}
                assert json.loads(fields)["reason"]
                lost, expected = lost + told["1"], expected + told["1"]
            assert seen + lost == count
            assert lost > 0
            assert expected == count
            reader.close()


async def test_congestion_block_by_hand(path, raw):
    """The broker stops reading a `block` publisher, and no other, while its reader is full."""
    async with Broker(path, config=BrokerConfig(stall_timeout=30.0)):
        reader, source, other = raw(path), raw(path), raw(path)
        reader.connect(queue_messages=100)
        reader.subscribe(1, "events.process.*")
        source.connect(congestion="block")
        other.connect()
        frame = wire.framed(FRAME)
        sent = 0
        flood = memoryview(frame * 50_000)
        source.sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            while sent < len(flood):
                sent += source.sock.send(flood[sent : sent + 500 * len(frame)])
        assert sent < 40_000 * len(frame)
        assert other.barrier() == [], "who did not ask to wait does not wait"
        for _ in range(sent // len(frame)):
            assert reader.receive()[0] == 0x10, "nothing dropped"
        assert reader.barrier() == []


@pytest.mark.parametrize("many", [3, 30])
async def test_stalled_readers_that_hold_all_memory_stop_no_waiting_publisher(path, raw, many):
    """One stall timeout is enough, also if only the total of all queues is used up and no queue is full by itself.

    Many share it in parts so small that a queue is emptied for the others.
    """
    config = BrokerConfig(total_queue_bytes=1_000_000, queue_bytes=4_000_000, stall_timeout=2.0)
    async with Broker(path, config=config) as broker:
        readers = [raw(path) for _ in range(many)]
        for reader in readers:
            reader.connect()
            reader.subscribe(1, "events.#")
        async with EventBus.connect(path, config=ClientConfig(congestion="block", publish_timeout=20.0)) as bus:
            for number in range(20_000):
                await bus.publish(process(number, "x" * 500))
            await bus.flush(timeout=20.0)
        seen = broker.statistics()
        assert seen.queued_bytes <= 1_000_000
        queued = sum(one.queued_messages for one in broker.clients())
        assert seen.messages_delivered + sum(seen.dropped.values()) + queued == many * 20_000


async def test_a_dead_client_is_noticed_at_once(broker, path, raw, program):
    spec = {"patterns": ["events.#"], "expect": 1 << 30}
    victim = program("subscriber.py", path, spec)
    await victim.answer()
    async with EventBus.from_broker(broker) as bus:
        assert (await bus.statistics()).active_subscribers == 1
        victim.freeze()
        victim.kill()
        # No ping is due within the watchdog's time.
        await eventually(lambda: remote_clients(broker) == [], what="clients")
        assert (await bus.statistics()).active_subscribers == 0


async def test_a_thousand_broken_connections_leave_nothing(broker, path):
    import os

    base = len(os.listdir("/proc/self/fd"))
    for number in range(1000):
        peer = wire.Raw(path)
        if number % 4 == 0:
            peer.connect()
            peer.subscribe(1, "#")
        if number % 4 == 1:
            peer.connect()
            peer.write(struct.pack("<I", 100) + b"\x10half")
        if number % 4 == 2:
            peer.connect()
            peer.subscribe(1, "#")
            peer.send(*[FRAME] * 50)
        peer.close()

    def quiet():
        return len(os.listdir("/proc/self/fd")) <= base and broker.clients() == []

    await eventually(quiet, what="descriptors")
    async with EventBus.from_broker(broker) as bus:
        assert (await bus.statistics()).active_subscribers == 0
