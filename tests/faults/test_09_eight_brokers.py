"""Fault 9. Many at once: one winner, and it is reachable."""

import os

import pytest
from harness import scaled, times

from support import Program

pytestmark = [
    pytest.mark.fault(
        9,
        "C",
        "8 brokers at once on one path, 50 rounds; and two, 200 rounds",
        "one winner each round, clear errors for the others, winner reachable",
    ),
    pytest.mark.limit(300),
]
ROUNDS = """
import asyncio, json, sys, time
from daemoneye_eventbus import Broker, BrokerAlreadyRunning
async def main():
    broker = None
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        path = line.strip()
        if path == "stop":
            if broker:
                await broker.shutdown(0)
            broker = None
            print("stopped", flush=True)
            continue
        broker = Broker(path)
        try:
            await broker.start()
            print("won", flush=True)
        except BrokerAlreadyRunning:
            broker = None
            print("lost", flush=True)
        except Exception as error:
            broker = None
            print(repr(error), flush=True)
asyncio.run(main())
"""


@pytest.mark.parametrize(("brokers", "rounds"), [(max(3, times(8)), scaled(8, 50)), (2, times(scaled(20, 200)))])
def test_one_winner(folder, path, raw, seen, brokers, rounds):
    (folder / "rounds.py").write_text(ROUNDS)
    children = [Program(str(folder / "rounds.py")) for _ in range(brokers)]

    def say(word):
        for child in children:
            child.child.stdin.write(word.encode() + b"\n")
            child.child.stdin.flush()
        return sorted(child.line() for child in children)

    try:
        assert {child.line() for child in children} == {"ready"}
        for _ in range(rounds):
            assert say(path) == ["lost"] * (brokers - 1) + ["won"]
            peer = raw(path)
            peer.connect()
            peer.close()
            assert set(say("stop")) == {"stopped"}
        for child in children:
            child.finish()
    finally:
        for child in children:
            child.close()
    assert not os.path.exists(path)
    seen(f"{rounds} rounds of {brokers}: one winner each, BrokerAlreadyRunning for the rest")
