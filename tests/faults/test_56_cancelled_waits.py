"""Fault 56. A cancelled wait loses nothing."""

import asyncio
import random

import pytest
from harness import scaled, times

from daemoneye_eventbus import ClientConfig, EventBus, ProcessEvent

pytestmark = [
    pytest.mark.fault(
        56,
        "C",
        "10^5 x wait_for(recv(), 0-2 ms) while messages flow",
        "every message received or counted",
    ),
    pytest.mark.limit(400),
]


HOWS = ("wait_for", "timeout=", "task.cancel")


def test_cancelled_waits(bench, path, seen):
    """The three ways to give up, beside each other in one loop: most of the time is spent waiting."""
    b = bench()
    rounds = times(scaled(3000, 30_000, 100_000))

    async def main():
        return await asyncio.gather(*(give_up(path, how, rounds) for how in HOWS))

    told = []
    for how, (received, cancelled) in zip(HOWS, asyncio.run(main()), strict=True):
        assert rounds / 10 < cancelled < rounds * 9 / 10, (how, cancelled)
        told.append(f"{how}: {rounds} waits, {cancelled} cancelled, {received} received in order")
    seen(f"{'; '.join(told)}; {b.undisturbed()}")


async def give_up(path, how, rounds):
    rng = random.Random(f"56 {how}")
    topic = f"events.process.way_{HOWS.index(how)}"
    # A wait that is always waited out takes as long as two of the others: with as many messages there would be one ready for each.
    pause = 0.006 if how == "task.cancel" else 0.002
    config = ClientConfig(pool=False)
    got, published, cancelled, done = [], 0, 0, False
    async with EventBus.connect(path, config=config) as out, EventBus.connect(path, config=config) as back:
        async with back.subscribe(topic) as events:

            async def publish():
                nonlocal published
                while not done:
                    await out.publish(ProcessEvent(pid=published, name="x"), topic=topic)
                    published += 1
                    await asyncio.sleep(rng.random() * pause)

            task = asyncio.create_task(publish())
            for _ in range(rounds):
                wait = rng.random() * 0.002
                try:
                    if how == "wait_for":
                        got.append((await asyncio.wait_for(events.get(), wait)).event.pid)
                    elif how == "timeout=":
                        got.append((await events.get(timeout=wait)).event.pid)
                    else:
                        waiting = asyncio.create_task(events.__anext__())
                        await asyncio.sleep(wait)
                        waiting.cancel()
                        got.append((await waiting).event.pid)
                except (TimeoutError, asyncio.CancelledError):
                    cancelled += 1
            done = True
            await task
            await out.flush()
            while len(got) + events.dropped < published:
                got.append((await events.get(timeout=5)).event.pid)
            assert got == list(range(published)), "lost, doubled or out of order"
            assert events.dropped == 0
            return len(got), cancelled
