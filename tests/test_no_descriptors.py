"""A process that has no descriptor left for its broker: an error says so, and what was opened until then is closed."""

import contextlib
import os
import resource
import socket
import sys

import pytest

from daemoneye_eventbus import Broker, TransportError
from support import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="descriptors are looked up in /proc")


def opened():
    # Without the one that looks.
    return {int(name) for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}")}


@contextlib.contextmanager
def only(spare):
    """So many more, and no hole among those that are open."""
    filled = []
    while True:
        filled.append(os.open(os.devnull, os.O_RDONLY))
        if filled[-1] > max(opened() - {filled[-1]}, default=0):
            break
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (filled[-1] + 1 + spare, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in filled:
            os.close(descriptor)


async def test_a_start_that_cannot_ask_who_listens_says_why(path):
    """Nobody does: what is there was left behind. That cannot be told without a descriptor to connect with."""
    left = socket.socket(socket.AF_UNIX)
    left.bind(path)
    left.close()
    said = []
    # What belongs to the loop is there already.
    async with Broker(path + ".other"):
        pass
    while True:
        broker = Broker(path)
        with only(len(said)):
            try:
                await broker.start()
            except OSError as error:
                said.append(str(error))
            else:
                break
    await broker.shutdown()
    assert all(text.endswith("Too many open files (os error 24)") for text in said), said
    assert f"ask whether a broker listens at {path}: Too many open files (os error 24)" in said


async def test_a_start_that_fails_leaves_none(path):
    # What belongs to the loop is there already.
    async with Broker(path):
        pass
    before = opened()
    failed = 0
    while True:
        # Each of the descriptors that it needs is the one which is missing, several times.
        broker = Broker(path)
        with only(failed // 3):
            try:
                await broker.start()
            except TransportError:
                failed += 1
            else:
                break
    await broker.shutdown()
    # Its thread may need a moment to end.
    await eventually(lambda: opened() == before, what="closed")
    assert failed >= 9
