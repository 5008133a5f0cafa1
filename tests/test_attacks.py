"""What an attacker with a local account and a careless reader once broke, and must not again."""

import asyncio
import contextlib
import os
import socket
import struct
import threading

import pytest

import raw as wire
from daemoneye_eventbus import Broker, BrokerConfig, ClientConfig, EventBus, ProcessEvent, WrongLoop
from support import eventually, process

BLOCK = ClientConfig(congestion="block")


async def test_a_frame_cut_by_a_full_queue_is_not_lost(path):
    """A read ends within a frame; the frame's reader has no room when the rest comes."""
    count = 20_000
    async with (
        Broker(path) as broker,
        EventBus.from_broker(broker) as reader,
        EventBus.connect(path, config=BLOCK) as publisher,
        reader.subscribe(ProcessEvent, overflow="block", queue_messages=50) as events,
    ):

        async def publish():
            for number in range(count):
                await publisher.publish(process(number))

        task = asyncio.create_task(publish())
        got = []
        while len(got) < count:
            got.append((await events.get(timeout=5)).event.pid)
            if len(got) % 100 == 0:
                await asyncio.sleep(0.001)
        await task
        assert got == list(range(count))
        assert events.dropped == 0


async def test_a_reader_who_has_stopped_reading_notices_that_its_broker_died(path):
    broker = Broker(path)
    await broker.start()
    async with EventBus.connect(path) as bus:
        events = await bus.subscribe("events.#", overflow="block", queue_messages=5)
        for number in range(2000):
            await bus.publish(process(number))
        await bus.flush()
        await eventually(lambda: events.pending == 5, what="pending")
        await broker.shutdown()
        async with Broker(path) as again:
            await eventually(lambda: events.gaps == 1, what="gaps")
            await eventually(lambda: again.statistics().active_subscribers == 1, what="subscribers")
            await bus.publish(process(9999))
            while (await events.get(timeout=5)).event.pid != 9999:
                pass
        await events.close()


async def test_no_wait_takes_nan_for_a_deadline(path):
    async with Broker(path) as broker, EventBus.from_broker(broker) as bus, bus.subscribe("events.#") as events:
        for wait in (events.get, bus.flush, bus.drain):
            with pytest.raises(ValueError, match="timeout"):
                await wait(float("nan"))


async def test_a_reader_of_another_loop_takes_nothing(path):
    async with Broker(path) as broker, EventBus.from_broker(broker) as bus, bus.subscribe("events.#") as events:
        await bus.publish(process(1))
        said = []

        def elsewhere():
            async def read():
                await events.get()

            try:
                asyncio.run(read())
            except WrongLoop as error:
                said.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await asyncio.to_thread(thread.join, 5)
        assert len(said) == 1
        assert (await events.get(timeout=1)).event.pid == 1


async def test_a_broker_says_that_its_path_was_lost(path):
    async with Broker(path) as broker, EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
        assert broker.reachable
        await asyncio.to_thread(os.unlink, path)
        await eventually(lambda: not broker.reachable, what="reachable")
        assert broker.running
        await bus.publish(process(1))
        assert (await events.get(timeout=2)).event.pid == 1


@pytest.mark.parametrize("token", ["", [], {}])
def test_an_empty_secret_is_not_no_secret(token):
    with pytest.raises((TypeError, ValueError), match="token"):
        BrokerConfig(token=token)


async def test_answers_to_a_broker_that_does_not_read_are_bounded(path):
    """One PONG is enough for many PINGs; once each was answered, into a buffer without a bound."""
    asked = 2_000_000
    answers = 0

    def serve(listener):
        nonlocal answers
        with contextlib.closing(wire.Raw.of(listener.accept()[0])) as peer:
            assert wire.parse_text(peer.receive())[0] == "CONNECT"
            peer.say("INFO", **wire.info())
            peer.say("OK", id=wire.parse_text(peer.receive())[1]["id"])
            for _ in range(asked // 10_000):
                peer.sock.sendall(struct.pack("<I4s", 4, b"PING") * 10_000)
            peer.send(wire.process_message(1))
            while (body := peer.receive()) == b"PONG":
                answers += 1
            assert wire.parse_text(body)[0] == "PING", "the flush"
            peer.send(b"PONG")
            peer.say("OK", id=wire.parse_text(peer.receive())[1]["id"])
            while (body := peer.receive()) is not None and body != b"BYE":
                pass

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        serving = asyncio.create_task(asyncio.to_thread(serve, listener))
        async with EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
            await events.get(timeout=20)
            await bus.flush(timeout=10)
        await serving
    assert 0 < answers < asked / 4, "what the socket takes, and one"
