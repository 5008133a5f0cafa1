"""Fault 45. What only time shows. `make soak SECONDS=3600` is the catalogue's hour; here it is minutes at most."""

import os
import random
import time

import pytest
from harness import MIB, Reading, scaled

DURATION = float(os.environ.get("DAEMONEYE_SOAK_SECONDS", scaled(5, 40, 3600)))
pytestmark = [
    pytest.mark.fault(
        45,
        "H",
        "soak: 2,000 msg/s, 10 connects/s, random SIGKILL of clients",
        "RSS slope under 1 MiB/h after 10 min; fds, threads, maps flat",
    ),
    pytest.mark.limit(DURATION * 1.2 + 120),
]


def test_soak(bench, seen):
    b = bench()
    rng = random.Random(45)
    reader = b.reader(options={"queue_messages": 10_000})
    flood = b.flood(rate=2000, seconds=DURATION + 30, size=100)
    rate = 10
    warm = min(600.0, DURATION / 3)
    samples: list[tuple[float, Reading]] = []
    begin = last_look = time.monotonic()
    number = connects = kills = 0
    killed_every = max(2.0, DURATION / 60)
    next_kill = begin + killed_every
    while (now := time.monotonic()) < begin + DURATION:
        peer = b.connected(client=f"c{number}")
        if number % 2:
            peer.subscribe(1, "events.performance.flood")
        connects += 1
        number += 1
        if rng.random() < 0.5 and peer.info:
            peer.sock.close()
        for old in b.raws[:-5]:
            old.close()
        b.raws = b.raws[-5:]
        if now > next_kill:
            victim = b.reader()
            victim.kill()
            victim.close()
            b.children.remove(victim)
            kills += 1
            next_kill = now + killed_every
        if now - last_look > max(0.5, DURATION / 500):
            last_look = now
            if now - begin > warm:
                samples.append((now, b.reading()))
            assert reader.ask(clear=True)["dropped"] == 0
        time.sleep(max(0.0, 1 / rate - (time.monotonic() - now)))
    b.hang_up()
    flood.kill()
    time.sleep(1)
    first, last = samples[: max(1, len(samples) // 5)], samples[-max(1, len(samples) // 5) :]
    mean = lambda part: sum(r.rss for _, r in part) / len(part) / MIB  # noqa: E731
    hours = (last[-1][0] - first[0][0]) / 3600
    growth = mean(last) - mean(first)
    slope = growth / hours
    # In minutes a page more is a large slope: what counts then is the growth itself.
    assert growth < max(1.0, hours), (growth, slope)
    assert max(r.threads for _, r in last) <= max(r.threads for _, r in first)
    assert max(r.maps for _, r in last) <= max(r.maps for _, r in first) + 4
    assert b.reading().fds <= b.base.fds + 1
    seen(f"{DURATION:.0f} s, {connects} connects, {kills} kills: {growth:+.2f} MiB ({slope:+.1f} MiB/h), "
         f"threads and maps flat; {b.undisturbed()}")  # fmt: skip
