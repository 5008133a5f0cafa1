"""What a bus had accepted when it was forgotten: it is sent if the broker takes it, and else counted in the log."""

from __future__ import annotations

import asyncio
import gc
import re
import subprocess
import sys

import pytest

from daemoneye_eventbus import ClientConfig, EventBus, WouldBlock
from support import collect, eventually, pids, process

SOLO = ClientConfig(pool=False)
LOST = "published messages were not sent: their bus was forgotten"
END = """
import asyncio, logging, sys
from daemoneye_eventbus import EventBus, ProcessEvent, WouldBlock

async def main(path):
    bus = await EventBus.connect(path)
    print(flush=True)
    sys.stdin.readline()
    accepted = 0
    try:
        while True:
            bus.publish_nowait(ProcessEvent(accepted, "x" * 1000))
            accepted += 1
    except WouldBlock:
        print(accepted, flush=True)

logging.basicConfig(level=logging.WARNING)
asyncio.run(main(sys.argv[1]))
"""

pytestmark = pytest.mark.filterwarnings("ignore:.* was forgotten:ResourceWarning")


async def filled(path, freeze) -> tuple[EventBus, int]:
    """A bus whose broker stands still, and how many messages it has accepted."""
    bus = await EventBus.connect(path, config=SOLO)
    freeze()
    accepted = 0
    try:
        while True:
            bus.publish_nowait(process(accepted, "x" * 1000))
            accepted += 1
    except WouldBlock:
        return bus, accepted


def published(broker) -> int:
    """What a broker in its own process has had."""
    broker.tell(do="statistics")
    return int(re.search(r"messages_published=(\d+)", broker.json()["statistics"])[1])


async def test_a_broker_that_goes_on_gets_all_of_it(path, program, caplog):
    """What was not with the kernel when the bus was collected was lost, without a word."""
    broker = program("broker.py", path)
    await broker.answer()
    async with EventBus.connect(path) as reader, reader.subscribe("events.#", queue_bytes=2**26) as events:
        bus, accepted = await filled(path, broker.freeze)
        del bus
        gc.collect()
        broker.thaw()
        assert pids(await collect(events, accepted)) == list(range(accepted))
    assert LOST not in caplog.text
    broker.finish()


def test_it_does_so_without_the_loop(path, program):
    broker = program("broker.py", path)
    broker.json()
    bus, accepted = asyncio.run(filled(path, broker.freeze))
    del bus
    gc.collect()
    broker.thaw()

    async def all_came():
        await eventually(lambda: published(broker) == accepted, what="all of it published")

    asyncio.run(all_came())
    broker.finish()


async def test_what_the_broker_does_not_take_is_counted_in_the_log(path, program, caplog):
    broker = program("broker.py", path)
    await broker.answer()
    async with EventBus.connect(path) as reader, reader.subscribe("events.#", queue_bytes=2**26) as events:
        bus, accepted = await filled(path, broker.freeze)
        del bus
        gc.collect()
        (line,) = await eventually(lambda: [one for one in caplog.records if LOST in one.getMessage()], what="the line")
        assert (line.name, line.levelname) == ("daemoneye_eventbus.client", "WARNING")
        assert 0 < line.messages < accepted
        broker.thaw()
        came = accepted - line.messages
        assert pids(await collect(events, came)) == list(range(came))
    broker.finish()


async def test_it_ends_with_its_connection(path, program, caplog):
    broker = program("broker.py", path)
    await broker.answer()
    bus, accepted = await filled(path, broker.freeze)
    del bus
    gc.collect()
    broker.kill()
    (line,) = await eventually(lambda: [one for one in caplog.records if LOST in one.getMessage()], what="the line")
    assert 0 < line.messages < accepted


def test_the_end_of_the_interpreter_does_not_hide_the_number(path, program):
    broker = program("broker.py", path)
    broker.json()
    child = subprocess.Popen(
        [sys.executable, "-c", END, path], stdin=-1, stdout=-1, stderr=-1, text=True, encoding="utf-8"
    )
    try:
        child.stdout.readline()
        broker.freeze()
        out, err = child.communicate("\n", timeout=20)
    finally:
        child.kill()
    assert child.returncode == 0, err
    (line,) = [line for line in err.splitlines() if LOST in line]
    lost = int(re.search(r"messages=(\d+)", line)[1])
    assert 0 < lost < int(out)
    broker.thaw()

    async def rest_came():
        await eventually(lambda: published(broker) == int(out) - lost, what="what was sent")

    asyncio.run(rest_came())
    broker.finish()


async def test_a_connection_that_others_use_stays_as_it_is(path, program):
    """Nothing is sent or counted for a bus that was forgotten: the others do that."""
    broker = program("broker.py", path)
    await broker.answer()
    one, two = await EventBus.connect(path), await EventBus.connect(path)
    await one.publish(process(1))
    del one
    gc.collect()
    assert two.state == "connected"
    await two.drain()
    assert await asyncio.to_thread(published, broker) == 1
    broker.finish()
