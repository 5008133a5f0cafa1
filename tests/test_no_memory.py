"""A process that has no memory for the next event gets `MemoryError`; an event to be read stays in its queue."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from daemoneye_eventbus import ClientConfig, EventBus, ProcessEvent

PROGRAM = Path(__file__).parent / "programs" / "low_memory_reads.py"
STARVED = PROGRAM.with_name("failing_allocations.py")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="an address space is limited so on Linux only")


def run(path, *case, program=PROGRAM):
    done = subprocess.run(
        [sys.executable, str(program), path, *case], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_message_without_memory_stays_in_the_queue(path):
    told = run(path, "nowait")
    assert told == {"got": ["MemoryError", 1, 2, "WouldBlock"], "pending": 0, "delivered": 3}


def test_get_many_returns_what_is_before_a_message_without_memory(path):
    told = run(path, "many")
    assert told == {"got": [[0], "MemoryError", [1, 2]], "pending": 0, "delivered": 3}


def test_a_reader_without_memory_wakes_the_next_one(path):
    told = run(path, "line")
    assert told == {"got": [3, "MemoryError"], "pending": 0, "delivered": 4}


@pytest.mark.parametrize("where", ["socket", "process"])
@pytest.mark.parametrize("what", ["event", "control", "awaited", "iterated", "many"])
def test_whatever_there_is_no_memory_for_nothing_is_lost(path, where, what):
    pytest.importorskip("_testcapi", reason="the interpreter comes without its own tests")
    told = run(path, where, what, program=STARVED)
    got = told.pop("got")
    assert told.pop("failed") > 0
    assert got == list(range(len(got)))
    assert told == {"delivered": len(got), "dropped": 0, "pending": 180 - len(got)}


async def test_what_there_is_no_memory_to_publish_is_refused_to_the_caller(path, broker):
    """Allocating for it, over a socket, once ended the process by SIGABRT."""
    told = await asyncio.to_thread(run, path, program=PROGRAM.with_name("low_memory_publisher.py"))
    assert told["refused"] > 0
    assert told["said"].startswith("there is no memory for 1000")
    assert told["taken"] == broker.statistics().messages_published


async def started(program, *arguments):
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAM.with_name(program)),
        *arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("room", [0, 1_500_000, 3_000_000, 8_000_000])
async def test_a_subscriber_without_memory_survives_and_counts_the_loss(path, broker, room):
    """Allocating for it, or for its copy, once ended the process by SIGABRT."""
    program = await started("low_memory_subscriber.py", path, str(room))
    assert await asyncio.wait_for(program.stdout.readline(), 20) == b"ready\n"
    program.stdin.write(b"\n")
    assert await asyncio.wait_for(program.stdout.readline(), 20) == b"limited\n"
    heavy = ProcessEvent(pid=1, name="x" * 1_000_000)
    async with EventBus.connect(path, config=ClientConfig(congestion="block")) as bus:
        for _ in range(40):
            await bus.publish(heavy)
        await bus.flush()
    program.stdin.write(b"\n")
    out, err = await asyncio.wait_for(program.communicate(), 30)
    assert program.returncode == 0, err.decode()
    told = json.loads(out)
    assert told["gap"] == told["dropped"]
    if room < len(heavy.name):
        assert told["gaps"] > 0
    # What broke with a connection is counted as an interruption, by the broker and by the reader.
    assert told["got"] + told["dropped"] <= 40
    assert told["gaps"] > 0 or told["got"] + told["dropped"] == 40


async def test_a_queue_leaves_its_reader_memory_to_read_it(path, broker):
    """The queue once took all memory, and every read failed from then on."""
    program = await started("oversized_queue.py", path)
    assert await asyncio.wait_for(program.stdout.readline(), 20) == b"limited\n"
    heavy = ProcessEvent(pid=1, name="x" * 50_000)
    async with EventBus.connect(path, config=ClientConfig(congestion="block")) as bus:
        for _ in range(1000):
            await bus.publish(heavy)
        await bus.flush()
    out, err = await asyncio.wait_for(program.communicate(b"\n"), 30)
    assert program.returncode == 0, err.decode()
    told = json.loads(out)
    assert told["gaps"] == 0
    assert told["dropped"] > 0
    assert told["held"] > 0
    assert told["got"] + told["dropped"] == 1000
