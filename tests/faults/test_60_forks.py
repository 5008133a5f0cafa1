"""Fault 60. A process that is copied."""

import os
import signal
import socket
import stat
import time

import psutil
import pytest

from support import Program

pytestmark = [
    pytest.mark.fault(
        60,
        "C",
        "multiprocessing fork and spawn with a live bus; parent SIGKILLed, forked child alive",
        "use in the child raises within 1 s; child exit unlinks nothing; spawn works",
    ),
    pytest.mark.limit(90),
]


def test_every_call_in_the_child_says_so(path, seen):
    parent = Program("forked.py", path, "methods")
    try:
        calls = []
        while "parent" not in (line := parent.json(10)):
            calls += [line] if "call" in line else []
        assert line == {"parent": "fine", "status": 0}
        parent.finish()
    finally:
        parent.close()
    assert {call["said"] for call in calls} == {"ForkedProcess"}
    slowest = max(call["took"] for call in calls)
    assert slowest < 1
    seen(f"{len(calls)} calls in the child: ForkedProcess within {slowest * 1000:.0f} ms")


def test_the_child_outlives_its_killed_parent(path, seen):
    parent = Program("forked.py", path, "sleep")
    child = successor = None
    try:
        answers = {**parent.json(), **parent.json()}
        child = answers["child"]
        parent.kill()
        assert answers["kept"] == []
        assert psutil.pid_exists(child)
        with socket.socket(socket.AF_UNIX) as probe, pytest.raises(ConnectionRefusedError):
            probe.connect(path)
        begin = time.monotonic()
        successor = Program("broker.py", path)
        successor.json(5)
        took = time.monotonic() - begin
        os.kill(child, signal.SIGTERM)
        time.sleep(0.2)
        assert stat.S_ISSOCK(os.stat(path).st_mode)
        successor.finish()
    finally:
        parent.close()
        if successor is not None:
            successor.close()
        if child is not None and psutil.pid_exists(child):
            os.kill(child, signal.SIGKILL)
    seen(f"successor ready after {took:.1f} s, its socket survives the child's end")


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_multiprocessing(path, seen, method):
    parent = Program("spawning.py", path, method)
    try:
        assert parent.line(40) == "fine"
        parent.finish(timeout=20)
    finally:
        parent.close()
    seen(f"{method}: works with buses of its own")
