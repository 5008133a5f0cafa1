"""Fault 47. Little memory, little processor."""

import subprocess
import sys
import time

import pytest
from harness import scaled

pytestmark = [
    pytest.mark.fault(
        47,
        "H",
        "RLIMIT_AS 256 MiB + 1 MiB payloads; then 4 busy loops on the same core",
        "limit error instead of abort; no false dead-peer verdicts",
    ),
    pytest.mark.limit(120),
]


def test_large_payloads_in_little_memory(bench, seen):
    """Queues far below what the process may have: the limits of the bus are met before those of the machine."""
    b = bench(
        {"queue_bytes": 16 << 20, "total_queue_bytes": 32 << 20},
        options={"limits": {"RLIMIT_AS": 256 << 20}},
    )
    stopped = [b.connected() for _ in range(6)]
    for peer in stopped:
        peer.subscribe(1, "events.performance.flood")
    done = b.flood(count=scaled(150, 1000), size=1000 << 10, config={"congestion": "drop"}).json(60)
    now = b.statistics()
    assert now["queued_bytes"] <= 34 << 20, now
    assert sum(now["dropped"].values()) > 0
    seen(f"{done['published']} MiB in, {now['queued_bytes'] >> 20} MiB queued, rest counted; {b.undisturbed()}")


def test_defaults_that_ask_for_more_than_there_is(bench, seen):
    """Each reader has a topic of its own, so that no two queues share a payload: with 256 MiB of queues an allocation would fail."""
    b = bench(options={"limits": {"RLIMIT_AS": 256 << 20}})
    readers = 45
    for number in range(readers):
        b.connected().subscribe(1, f"events.performance.t{number}")
    published = 0
    for number in range(readers):
        topic = f"events.performance.t{number}"
        published += b.flood(count=10, size=1000 << 10, topic=topic, config={"congestion": "drop"}).json(60)[
            "published"
        ]
    now = b.statistics()
    assert 16 << 20 < now["queued_bytes"] < 128 << 20, now
    assert now["dropped"]["total_queue_bytes"] > 0
    said = [line for line in b.log() if "total_queue_bytes" in line]
    assert len(said) == 1, b.log()
    seen(
        f"{published} MiB in under the defaults, {now['queued_bytes'] >> 20} MiB queued, rest counted; {b.undisturbed()}"
    )


def test_a_busy_machine_is_no_dead_peer(bench, seen):
    b = bench({"ping_interval": 0.5, "ping_timeout": 1.5}, canary=True)
    idle = b.reader()
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        time.sleep(scaled(4, 15))
        assert b.refused("ping_timeout") == 0
        got = idle.ask()
        assert got["gaps"] == 0, got
        said = b.canary_report()
        assert (said["lost"], said["gaps"], said["dropped"]) == (0, 0, 0), said
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    seen(f"4 busy loops: no peer cut, canary lost 0 of {said['count']}")
