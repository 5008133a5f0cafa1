"""A loop that stops, or stands still, behind a publish: what it would have written is written all the same."""

import asyncio
import contextlib
import queue
import threading
import time

from daemoneye_eventbus import ClientConfig, EventBus
from support import process

ROUNDS = 5
# What nobody looks after waits for the next confirmation, up to a second, or for the next keep-alive, 22 seconds.
UNATTENDED = 1.0


@contextlib.contextmanager
def reader(path):
    """Gives the queue of what a subscriber in a thread of its own has got."""
    got = queue.SimpleQueue()
    done = threading.Event()

    async def read():
        async with EventBus.connect(path, config=ClientConfig(pool=False)) as bus:
            async with bus.subscribe("#", overflow="block") as events:
                got.put("ready")
                while not done.is_set():
                    with contextlib.suppress(TimeoutError):
                        got.put((await events.get(timeout=0.05)).event.pid)

    thread = threading.Thread(target=asyncio.run, args=(read(),))
    thread.start()
    try:
        assert got.get(timeout=20) == "ready"
        yield got
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def bus_in_a_loop(path):
    loop = asyncio.new_event_loop()
    try:

        async def connected():
            return await EventBus.connect(path, config=ClientConfig(congestion="block"))

        bus = loop.run_until_complete(connected())
        yield bus, loop
        loop.run_until_complete(bus.shutdown())
    finally:
        loop.close()


async def publish(bus, pids, size):
    for pid in pids:
        await bus.publish(process(pid, command_line="x" * size))


def seconds_until(got, pids):
    began = time.monotonic()
    assert [got.get(timeout=40) for _ in pids] == list(pids)
    return time.monotonic() - began


def test_a_loop_that_stops_with_more_than_the_kernel_takes(path, program):
    program("broker.py", path).json()
    waited = []
    with reader(path) as got, bus_in_a_loop(path) as (bus, loop):
        for start in range(ROUNDS):
            pids = range(start * 300, start * 300 + 300)
            loop.run_until_complete(publish(bus, pids, 10_000))
            waited.append(seconds_until(got, pids))
    assert sum(waited) < ROUNDS * UNATTENDED, waited


def test_a_loop_that_stops_behind_a_burst(path, program):
    program("broker.py", path).json()
    waited = []
    with reader(path) as got, bus_in_a_loop(path) as (bus, loop):
        for start in range(8 * ROUNDS):
            pids = range(start * 100, start * 100 + 100)
            loop.run_until_complete(publish(bus, pids, 10))
            waited.append(seconds_until(got, pids))
    assert max(waited) < UNATTENDED / 2, waited


def test_a_loop_that_stands_still(path, program):
    program("broker.py", path).json()
    waited = []

    async def publish_and_block(bus, got):
        for start in range(ROUNDS):
            pids = range(start * 3, start * 3 + 3)
            await publish(bus, pids, 10)
            waited.append(seconds_until(got, pids))

    with reader(path) as got, bus_in_a_loop(path) as (bus, loop):
        loop.run_until_complete(publish_and_block(bus, got))
    assert max(waited) < UNATTENDED / 2, waited
