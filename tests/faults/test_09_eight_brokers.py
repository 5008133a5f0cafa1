"""Fault 9. Many at once: one winner, and it is reachable."""

import pytest
from harness import scaled

from support import Program

pytestmark = [
    pytest.mark.fault(
        9,
        "C",
        "8 brokers at once on one path, 50 rounds",
        "one winner each round, 7 clear errors, winner reachable",
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


def test_one_winner(folder, path, raw, seen):
    (folder / "rounds.py").write_text(ROUNDS)
    rounds = scaled(8, 50)
    children = [Program(str(folder / "rounds.py")) for _ in range(8)]

    def say(word):
        for child in children:
            child.child.stdin.write(word.encode() + b"\n")
            child.child.stdin.flush()
        return sorted(child.line() for child in children)

    try:
        assert {child.line() for child in children} == {"ready"}
        for _ in range(rounds):
            assert say(path) == ["lost"] * 7 + ["won"]
            peer = raw(path)
            peer.connect()
            peer.close()
            assert set(say("stop")) == {"stopped"}
        for child in children:
            child.finish()
    finally:
        for child in children:
            child.close()
    seen(f"{rounds} rounds, 1 winner and 7 BrokerAlreadyRunning each")
