"""Fault 47. Little memory, little processor."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import MIB, scaled, until

import raw as wire

pytestmark = [
    pytest.mark.fault(
        47,
        "H",
        "RLIMIT_AS or a control group of 256 MiB + 1 MiB payloads; then 4 busy loops on the same core",
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


def fill(b):
    """Offers 450 MiB to 45 readers that read nothing. Each has a topic of its own, so that no two queues share a payload."""
    readers = 45
    for number in range(readers):
        b.connected().subscribe(1, f"events.performance.t{number}")
    published = 0
    for number in range(readers):
        topic = f"events.performance.t{number}"
        published += b.flood(count=10, size=1000 << 10, topic=topic, config={"congestion": "drop"}).json(60)[
            "published"
        ]
    said = [line for line in b.log() if "total_queue_bytes" in line]
    assert len(said) == 1, b.log()
    now = b.statistics()
    assert now["dropped"]["total_queue_bytes"] > 0, now
    return published, now


def test_defaults_that_ask_for_more_than_there_is(bench, seen):
    """With 256 MiB of queues an allocation would fail."""
    b = bench(options={"limits": {"RLIMIT_AS": 256 << 20}})
    published, now = fill(b)
    assert 16 << 20 < now["queued_bytes"] < 128 << 20, now
    seen(
        f"{published} MiB in under the defaults, {now['queued_bytes'] >> 20} MiB queued, rest counted; {b.undisturbed()}"
    )


def test_short_messages_take_more_than_their_bytes(bench, seen):
    """A place in a queue and an allocation each: three times what their frames have, if nobody charged for it."""
    b = bench(options={"limits": {"RLIMIT_AS": 256 << 20}})
    readers, publisher = 40, b.connected()
    for number in range(readers):
        b.connected().subscribe(1, f"events.t{number}")
    # Each is a run of its own, since its neighbours go elsewhere.
    bodies = [wire.process_message(0, f"events.t{number}") for number in range(readers)]
    block = wire.framed(*bodies) * 50
    published = 0
    for _ in range(scaled(400, 1000)):
        publisher.write(block)
        published += readers * 50
    publisher.barrier()
    now = b.statistics()
    assert now["dropped"]["total_queue_bytes"] > 0, now
    seen(f"{published} short messages in, {now['queued_messages']} queued, rest counted; {b.undisturbed()}")


@contextlib.contextmanager
def control_group(limit):
    """A control group of its own with so many bytes of memory, at the top of whichever hierarchy has memory; or a skip."""
    mounted = Path("/sys/fs/cgroup")
    older = mounted / "memory" / "memory.limit_in_bytes"
    root, file = (older.parent, older.name) if older.exists() else (mounted, "memory.max")
    group = root / f"daemoneye-eventbus-test-{os.getpid()}"
    if os.geteuid() != 0:
        pytest.skip("needs root to make a control group")
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        if not (group / file).exists():
            pytest.skip(f"control groups at {root} have no {file}: memory is not among their controllers")
        (group / file).write_text(str(limit))
        yield group
    finally:
        # The kernel takes a moment to see that whoever was in it has gone.
        until(lambda: not removed(group), 10, "the group removed")


def removed(group):
    with contextlib.suppress(OSError):
        group.rmdir()
    return group.exists()


def test_a_control_group_with_less_than_the_defaults_ask_for(bench, seen):
    """Beyond its limit the kernel kills: all queues together take half of it, and the rest is for everything else."""
    with control_group(256 * MIB) as group:
        b = bench(options={"group": str(group)})
        published, now = fill(b)
        assert 32 * MIB < now["queued_bytes"] <= 130 * MIB, now
        how = b.undisturbed()
        b.hang_up()
        b.close(failed=False)
        b.children.clear()
        b.raws.clear()
    seen(f"in a group of 256 MiB: {published} MiB in, {now['queued_bytes'] >> 20} MiB queued, rest counted; {how}")


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
