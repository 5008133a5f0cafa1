"""Fault 46. The broker is killed and comes back, again and again."""

import signal
import textwrap
import time

import pytest
from harness import scaled, times, until

pytestmark = [
    pytest.mark.fault(
        46,
        "H",
        "200 clients; broker SIGKILL and restart, 20 times",
        "all back within 5 s, at most 50 connects in any 10 ms, subscriptions restored, no duplicate, loss counted",
    ),
    pytest.mark.limit(300),
]
WINDOW = 0.01
MANY = """
import asyncio, collections, json, sys
from daemoneye_eventbus import ClientConfig, EventBus
async def main(path, count):
    config = ClientConfig(pool=False, reconnect_max=1.0)
    buses = [await EventBus.connect(path, config=config) for _ in range(count)]
    subs = [await bus.subscribe("events.performance.flood", queue_messages=100_000) for bus in buses]
    got = [collections.Counter() for _ in buses]
    async def take(sub, counter):
        async for one in sub:
            counter[one.event.metric_name + " " + one.event.unit] += 1
    tasks = [asyncio.create_task(take(s, c)) for s, c in zip(subs, got)]
    print(json.dumps({"ready": True}), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps({
            "connected": sum(bus.state == "connected" for bus in buses),
            "gaps": sorted({sub.gaps for sub in subs}),
            "twice": sum(n > 1 for c in got for n in c.values()),
            "least": min(sum(c.values()) for c in got),
            "reconnects": sum(bus.local_statistics()["reconnects"] for bus in buses),
        }), flush=True)
    for task in tasks:
        task.cancel()
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def test_all_come_back_without_a_stampede(bench, seen, folder):
    b = bench({"max_connections": 512}, canary=False)
    # No more of them: connects in 10 ms are a rate, and its bound is for 200.
    count, rounds = min(200, times(scaled(60, 200))), scaled(2, 20)
    (folder / "many.py").write_text(textwrap.dedent(MANY))
    many = b.start(str(folder / "many.py"), b.path, str(count))
    assert many.json(30) == {"ready": True}
    worst, published, densest = 0.0, 0, 0
    for number in range(rounds):
        b.broker.signal(signal.SIGKILL)
        b.broker.child.wait(5)
        time.sleep(0.3)
        b.restart()
        begin = time.monotonic()
        # When it was asked, when it was answered, and how many there were in between.
        arrivals: list[tuple[float, float, int]] = [(begin, begin, 0)]
        while arrivals[-1][2] < count:
            assert time.monotonic() - begin < 10, "not all back"
            asked = time.monotonic()
            there = b.statistics()["connections"]
            arrivals.append((asked, time.monotonic(), there))
        worst = max(worst, time.monotonic() - begin)
        for asked, _, had in arrivals:
            within = [now - had for _, answered, now in arrivals if 0 < answered - asked <= WINDOW]
            densest = max([densest, *within])
        until(lambda: b.statistics()["active_subscribers"] == count, 5, "subscriptions restored")
        b.flood(count=20, sender=f"round {number}").json(20)
        published += 20
        said = until(lambda: (s := many.ask(go=1))["least"] >= published and s, 10, "delivered")
        assert said["twice"] == 0, said
    assert said["connected"] == count
    assert said["gaps"] == [rounds], said
    assert said["reconnects"] == count * rounds, said
    assert worst < 5, worst
    seen(
        f"{count} clients, {rounds} restarts: all back in {worst:.2f} s at worst, {densest} in the densest 10 ms, none twice"
    )
    assert densest <= 50, densest
