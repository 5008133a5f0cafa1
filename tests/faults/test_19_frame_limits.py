"""Fault 19. The largest frame, one byte more, and large ones to a slow reader."""

import asyncio
import time

import pytest

from daemoneye_eventbus import ClientConfig, EventBus, FrameTooLarge, ProcessEvent, wire

pytestmark = [
    pytest.mark.fault(
        19,
        "H",
        "payload of exactly max, of max+1, and 300 KiB to 1 MiB to a slow reader",
        "max arrives whole; max+1 raises at the sender, connection stays usable",
    ),
    pytest.mark.quick,
    pytest.mark.limit(60),
]
MAX = 1 << 20
SOLO = ClientConfig(pool=False, congestion="block")


async def sized(bus) -> int:
    """How many bytes of command line make a frame of exactly MAX."""
    try:
        await bus.publish(ProcessEvent(pid=1, name="x", command_line="y" * MAX), "c")
    except FrameTooLarge as error:
        return MAX - (error.size - error.limit)
    raise AssertionError("a frame above the limit was taken")


def test_exactly_the_limit_and_one_more(bench, path, seen):
    bench()

    async def main():
        async with EventBus.connect(path, config=SOLO) as bus, EventBus.connect(path, config=SOLO) as other:
            async with other.subscribe("events.process.#") as events:
                fits = await sized(bus)
                await bus.publish(ProcessEvent(pid=2, name="x", command_line="y" * fits), "c")
                got = await events.get(timeout=10)
                assert got.event.command_line == "y" * fits
                with pytest.raises(FrameTooLarge) as caught:
                    await bus.publish(ProcessEvent(pid=3, name="x", command_line="y" * (fits + 1)), "c")
                assert (caught.value.size, caught.value.limit) == (MAX + 1, MAX)
                await bus.publish(ProcessEvent(pid=4, name="x"), "c")
                assert (await events.get(timeout=5)).event.pid == 4
                return len(wire.encode(got.event))

    asyncio.run(main())
    seen("1,048,576 arrives, 1,048,577 raises FrameTooLarge at the sender")


def test_large_frames_to_a_slow_reader(bench, path, seen):
    b = bench()
    slow = b.connected()
    slow.subscribe(1, "events.process.#")
    sizes = [300 << 10, 512 << 10, 700 << 10, 1000 << 10]

    async def main():
        async with EventBus.connect(path, config=SOLO) as bus:
            for pid, size in enumerate(sizes):
                await bus.publish(ProcessEvent(pid=pid, name="x", command_line="y" * size), "c")
            await bus.flush()

    asyncio.run(main())
    slow.sock.settimeout(20)
    total = 0
    for size in sizes:
        needed = size - len(slow._buffer)
        while needed > 0:  # small sips
            piece = slow.sock.recv(min(16384, needed))
            assert piece
            slow._buffer += piece
            needed -= len(piece)
            total += len(piece)
            time.sleep(0.001)
        message = slow.message()
        assert len(message.payload) > size
    seen(f"{total >> 10} KiB to a slow reader whole; {b.undisturbed()}")
