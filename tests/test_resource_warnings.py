"""What is left open gives a `ResourceWarning`, as asyncio's transports do, whenever it is collected, if at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from daemoneye_eventbus import Broker, EventBus

LEAVE = """
import asyncio, gc, sys
from daemoneye_eventbus import Broker, EventBus

path, what, when = sys.argv[1:]
kept = []

async def main():
    broker = Broker(path)
    if what != "stopped":
        await broker.start()
    left = {"broker": broker}
    if what == "stopped":
        async with broker:
            return
    if what != "broker":
        left["bus"] = await (EventBus.connect(path) if what == "bus" else EventBus.from_broker(broker))
    if what == "subscription":
        left["subscription"] = await left["bus"].subscribe("events.#")
    kept.append(left)
    del broker, left
    if when == "in its loop":
        drop()
        if what == "broker":  # its thread ends by itself, which nobody waits for
            async with asyncio.timeout(10):
                while await answers():
                    await asyncio.sleep(0.01)
        else:
            assert await answers(), "it was not the last of it"

async def answers():
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    return True

def drop():
    if kept:
        del kept[0][what.replace("local", "bus")]
    gc.collect()

asyncio.run(main())
if when == "after its loop":
    drop()
print("end of the program", file=sys.stderr)
"""
SAID = {
    "broker": "<Broker {path!r} running> was forgotten; shut it down or use async with",
    "bus": "<EventBus connected> was forgotten; shut it down or use async with",
    "local": "<EventBus connected> was forgotten; shut it down or use async with",
    "subscription": "events.#> was forgotten; close it or use async with",
}
AT_EXIT = "the broker at {path} still ran when the interpreter ended; shut it down or use async with"


def leave(path, what, when, flags=()):
    command = [sys.executable, "-W", "always::ResourceWarning", *flags, "-c", LEAVE, path, what, when]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    before, after = done.stderr.split("end of the program\n")
    # Sockets of the program's own are not what is looked for.
    return (
        [line for line in text.splitlines() if "ResourceWarning: " in line and "unclosed" not in line]
        for text in (before, after)
    )


@pytest.mark.parametrize("when", ["in its loop", "after its loop"])
@pytest.mark.parametrize("what", SAID)
def test_what_is_dropped_says_so(path, what, when):
    said, after = leave(path, what, when)
    assert len(said) == 1, said
    assert said[0].endswith(SAID[what].format(path=path))
    # Whatever else was left is told at the end.
    assert any(line.endswith(AT_EXIT.format(path=path)) for line in after) is (what != "broker")


@pytest.mark.parametrize("what", SAID)
def test_what_is_kept_to_the_end_of_the_interpreter_says_so(path, what):
    said, after = leave(path, what, "never")
    assert said == []
    assert [line.endswith(AT_EXIT.format(path=path)) for line in after].count(True) == 1, after
    if what != "broker":
        assert any("EventBus" in line and "was forgotten" in line for line in after), after
    if what == "subscription":
        assert any(line.endswith(SAID[what]) for line in after), after


@pytest.mark.parametrize("when", ["in its loop", "after its loop", "never"])
def test_what_was_closed_says_nothing(path, when):
    assert [list(lines) for lines in leave(path, "stopped", when)] == [[], []]


UNSENT = """
import asyncio, logging, sys
from daemoneye_eventbus import Broker, EventBus, ProcessEvent

async def main(path, closed):
    async with Broker(path):
        bus = await EventBus.connect(path)
    while bus.state == "connected":
        await asyncio.sleep(0.01)
    await bus.publish(ProcessEvent(pid=1, name="sh"))
    if closed:
        await bus.shutdown()
    return bus

logging.basicConfig(level=logging.WARNING)
kept = asyncio.run(main(sys.argv[1], sys.argv[2] == "closed"))
"""


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("closed", "published messages were not sent before the bus was closed"),
        ("open", "published messages were not sent when the interpreter ended"),
    ],
)
def test_what_was_not_sent_is_told_once(path, state, said):
    """A bus that told it when it was closed had the end of the interpreter tell it again."""
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", UNSENT, path, state]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    (line,) = [line for line in done.stderr.splitlines() if "not sent" in line]
    assert line.endswith(f"1 {said}")


async def test_a_subscription_of_many_patterns_is_named_in_short(path):
    """Its repr and its warning listed all that it has, which may be 1,024."""
    patterns = [f"events.process.p{number:04}" for number in range(1000)]
    async with Broker(path) as broker, EventBus.from_broker(broker) as bus, bus.subscribe(*patterns) as events:
        first = ", ".join(patterns[:3])
        assert repr(events) == f"<Subscription {events.subscriber_id!r} {first} and 997 more>"
        events_of_three = await bus.subscribe(*patterns[:3])
        assert repr(events_of_three).endswith(f"{first}>")
        with pytest.warns(ResourceWarning, match=f"{first}> was forgotten"):
            del events_of_three


@pytest.mark.parametrize("what", ["broker", "subscription"])
def test_warnings_that_are_errors_leave_nothing_running(path, what):
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", LEAVE, path, what, "never"],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert AT_EXIT.format(path=path) in done.stderr
    assert "panicked" not in done.stderr
    assert not Path(path).exists(), "it was stopped all the same"
