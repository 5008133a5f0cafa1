"""Fault 55. Every way in which a program ends, in the middle of traffic."""

import os
import signal
import time

import pytest
from harness import scaled, times

from support import Program

pytestmark = [
    pytest.mark.fault(
        55,
        "C",
        "end of script, sys.exit, uncaught error, Ctrl-C, with live broker and 10 k msg/s; 200 runs each",
        'right exit code in under 2 s, no "Fatal Python error", panic text or SIGABRT',
    ),
    pytest.mark.limit(1200),
]
ENDS = {"script": 0, "thread": 0, "exit3": 3, "error": 1, "sigint": -signal.SIGINT}


@pytest.mark.parametrize("end", ENDS)
def test_the_end(folder, seen, end):
    rounds = times(scaled(2, 10, 200))
    worst = 0.0
    for number in range(rounds):
        path = str(folder / f"{number}.sock")
        child = Program("exit_under_load.py", path, end)
        try:
            assert child.line() == "busy"
            begin = time.monotonic()
            child.child.wait(10)
            worst = max(worst, time.monotonic() - begin)
            said = child.finish(code=ENDS[end], stderr=None)
        finally:
            child.close()
        for word in ("Fatal Python error", "panicked", "Aborted", "never retrieved", "Exception ignored"):
            assert word not in said, said
        assert not os.path.exists(path)
    assert worst < 2, worst
    seen(f"{end}: {rounds} runs, code {ENDS[end]}, slowest {worst:.2f} s")
