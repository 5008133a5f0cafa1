"""A process that has no memory for the next event: it is told so, and the event waits for better times."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "programs" / "squeezed.py"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="an address space is limited so on Linux only")


def run(path, case):
    done = subprocess.run(
        [sys.executable, str(PROGRAM), path, case], capture_output=True, text=True, timeout=60, check=False
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
