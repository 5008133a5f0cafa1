"""The fields of a received event, however often, in whatever order and by however many threads they are read."""

import asyncio
import pickle
import random
import tracemalloc

from daemoneye_eventbus import Broker, EventBus, NetworkEvent, ProcessEvent, TriggerRequest
from support import Pair, collect, process

TEXTS = ("connection_id", "source_address", "destination_address", "protocol")


def text(source: random.Random) -> str:
    """Of lengths on both sides of 64 bytes, often the same one again, often with more bytes than characters."""
    return source.choice(["a", "ü", "日", "\N{GRINNING FACE}"]) * source.choice([1, 2, 31, 32, 33, 63, 64, 65, 700])


async def test_what_costs_most_to_read_is_made_once(pair: Pair):
    line = "日本語 " * 40
    async with pair.sub.subscribe("events.#", "control.#") as events:
        await pair.pub.publish(process(1, command_line=line, metadata={"k": "v"}))
        await pair.pub.publish(TriggerRequest("r", "c", payload=b"x" * 5000))
        received, request = [one.event for one in await collect(events, 2)]
    assert received.command_line == line
    assert received.command_line is received.command_line
    assert received.metadata is received.metadata
    assert request.payload == b"x" * 5000
    assert request.payload is request.payload


async def test_a_received_control_message_holds_its_bytes_once_until_they_are_read(path: str):
    size, count = 400_000, 10
    async with (
        Broker(path),
        EventBus.connect(path) as bus,
        bus.subscribe("control.#", include_control=True) as messages,
    ):
        tracemalloc.start()
        try:
            for number in range(count):
                await bus.publish_control("control.collector.status", bytes([number]) * size)
            received = await collect(messages, count)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert held < 1.5 * size * count
    assert [message.payload for message in received] == [bytes([number]) * size for number in range(count)]
    assert received[0].payload is received[0].payload
    assert pickle.loads(pickle.dumps(received[1])) == received[1]


async def test_texts_are_the_field_s_own_in_any_order(pair: Pair):
    source = random.Random(7)
    made = [NetworkEvent(*(text(source) for _ in TEXTS)) for _ in range(300)]
    async with pair.sub.subscribe("events.#", queue_messages=300) as events:
        await pair.pub.publish_many(made)
        received = [one.event for one in await collect(events, 300)]
    for event, original in zip(received, made, strict=True):
        for field in source.choices(TEXTS, k=9):
            assert getattr(event, field) == getattr(original, field)
        assert event == original


async def test_threads_that_read_the_same_events_read_the_same(pair: Pair):
    source = random.Random(8)
    keys = [f"key{number}" for number in range(50)]
    made = [
        process(pid, text(source), command_line=text(source), metadata={key: text(source) for key in keys})
        for pid in range(200)
    ]
    async with pair.sub.subscribe("events.#", queue_messages=200) as events:
        await pair.pub.publish_many(made)
        received = [one.event for one in await collect(events, 200)]

    def read() -> list[ProcessEvent]:
        return [ProcessEvent(it.pid, it.name, command_line=it.command_line, metadata=it.metadata) for it in received]

    for read_there in await asyncio.gather(*(asyncio.to_thread(read) for _ in range(4))):
        assert read_there == made


async def test_keys_of_metadata_of_all_kinds_and_numbers(pair: Pair):
    source = random.Random(9)
    letters = ["", "k", "ü", "日", "k" * 58, "k" * 59, "k" * 60, "k" * 300]
    keys = [f"{source.choice(letters)}{number:05}" for number in range(3000)]
    made = []
    for pid in range(100):
        chosen = [*source.sample(keys, 60), "pid", "cgroup", "ü" * 32, ""]
        made.append(process(pid, metadata={key: f"{key} of {pid}" for key in chosen}))
    async with pair.sub.subscribe("events.#", queue_messages=100) as events:
        await pair.pub.publish_many(made)
        received = [one.event for one in await collect(events, 100)]
    for event, original in zip(received, made, strict=True):
        assert list(event.metadata.items()) == list(original.metadata.items())
