"""Exit handlers that publish after the package's own has run: what they publish is sent, or they are told."""

import re
import sys

import pytest

from daemoneye_eventbus import EventBus
from support import collect, pids

LOST = re.compile(r"(\d+) published messages were not sent when the interpreter ended")
UNSENT = re.compile(r"(\d+) published messages are unsent while the interpreter ends")
FORK = pytest.param(
    "fork",
    marks=pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="Python 3.12 alone lets no exit handler fork"),
)


@pytest.mark.parametrize("how", ["main", FORK])
async def test_what_an_exit_handler_publishes_is_sent(broker, path, program, how):
    """It was forgotten without a word; a child that the handler forked forgot it in buses of its own too."""
    async with EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
        child = program("exit_handler.py", path, how)
        assert await child.answer() == "ready"
        child.child.stdin.close()
        await child.answer()
        assert (await events.get(10)).event.pid == 7
        assert "sent" not in child.finish(stderr=None)


async def test_an_exit_handler_can_wait_for_room(broker, path, program):
    """What is behind what the kernel did not take at once is sent when it takes it."""
    async with EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
        child = program("exit_handler.py", path, "many")
        assert await child.answer() == "ready"
        child.child.stdin.close()
        taken = (await child.answer(20))["taken"]
        assert taken >= 100
        assert pids(await collect(events, taken)) == [7] * taken
        child.finish(stderr=None)


def test_an_exit_handler_that_publishes_more_than_the_broker_reads(path, program):
    """What is taken and cannot be written is warned of, and no more is taken."""
    frozen = program("broker.py", path)
    frozen.json()
    child = program("exit_handler.py", path, "until full")
    assert child.json() == "ready"
    frozen.freeze()
    try:
        child.child.stdin.close()
        said = child.json()
        statistics = said["statistics"]
        assert 0 < said["taken"] == statistics["published"] < 10**6
        assert UNSENT.findall(child.finish(stderr=None)) == [str(statistics["unsent"])] == ["1"]
    finally:
        frozen.thaw()
    frozen.finish()


def test_what_a_daemon_thread_publishes_at_the_end_is_dropped(path, program):
    """It is not told that its broker is gone, and nothing is said to be lost that was never taken."""
    broker = program("broker.py", path)
    broker.json()
    child = program("exit_handler.py", path, "daemon")
    assert child.json() == "ready"
    child.child.stdin.close()
    said = child.finish(stderr=None)
    assert "Traceback" not in said
    assert not LOST.findall(said)
    broker.finish()
