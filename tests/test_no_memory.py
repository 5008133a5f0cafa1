"""A process that has no memory for the next event: it is told so. Where it reads, the event waits for better times."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "programs" / "squeezed.py"
STARVED = PROGRAM.with_name("starved.py")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="an address space is limited so on Linux only")


def run(path, *case, program=PROGRAM):
    done = subprocess.run(
        [sys.executable, str(program), path, *case], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_there_is_no_memory_for_stays_in_the_queue(path):
    told = run(path, "nowait")
    assert told == {"got": ["MemoryError", 1, 2, "WouldBlock"], "pending": 0, "delivered": 3}


def test_those_before_it_are_handed_over(path):
    told = run(path, "many")
    assert told == {"got": [[0], "MemoryError", [1, 2]], "pending": 0, "delivered": 3}


def test_who_cannot_take_it_wakes_the_next(path):
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
    """Making room for it over a socket ended the process by SIGABRT."""
    told = await asyncio.to_thread(run, path, program=PROGRAM.with_name("heavy.py"))
    assert told["refused"] > 0
    assert told["said"].startswith("there is no memory for 1000")
    assert told["taken"] == broker.statistics().messages_published
