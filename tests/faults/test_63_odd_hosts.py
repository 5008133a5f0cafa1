"""Fault 63, beyond the catalogue. Hosts that were started or are kept in odd ways: the bus works there, or says why it cannot."""

import json
import os
import subprocess
import sys
import textwrap
import time

import pytest
from harness import Reading, freeze, scaled, times, until

pytestmark = [
    pytest.mark.fault(
        63,
        "H",
        "beyond the catalogue: standard descriptors closed at start, a working directory that is gone, limits on files, "
        "processes and file sizes, a large environment, -X dev, both sides stopped beyond every timeout, a stopped publisher",
        "works, or an error that says why; no bus socket becomes somebody's standard output; lost pairs are counted",
    ),
    pytest.mark.limit(120),
]
ROUND = """
import asyncio, json, os, socket, sys
from daemoneye_eventbus import Broker, ClientConfig, EventBus, EventBusError, ProcessEvent
async def main(path, report):
    said = {}
    try:
        async with Broker(path) as broker, EventBus.connect(path, config=ClientConfig(pool=False)) as bus:
            async with bus.subscribe("events.#") as events:
                for pid in range(1, 101):
                    await bus.publish(ProcessEvent(pid, "sh"))
                said["got"] = [(await asyncio.wait_for(anext(events), 5)).event.pid for _ in range(100)]
                said["standard"] = [number for number in range(3) if is_ours(number, path)]
                said["connections"] = broker.statistics().connections
    except (EventBusError, OSError, RuntimeError, MemoryError) as error:
        said["error"] = f"{type(error).__name__}: {error}"
    with open(report, "w") as file:
        json.dump(said, file)
def is_ours(number, path):
    # Pairs of sockets are the event loop's.
    try:
        if "lock" in os.readlink(f"/proc/self/fd/{number}"):
            return True
        with socket.socket(fileno=os.dup(number)) as one:
            return path in (one.getsockname(), one.getpeername())
    except OSError:
        return False
"""


def run(folder, path, before="", *, flags=(), env=None, shell="", cwd=None, code=0):
    """One round of broker, publisher and subscriber in a process prepared by `before`; what it reported."""
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    program = folder / "round.py"
    program.write_text(
        textwrap.dedent(ROUND) + textwrap.dedent(before) + "\nasyncio.run(main(sys.argv[1], sys.argv[2]))\n"
    )
    command = [sys.executable, *flags, str(program), path, str(report)]
    if shell:
        command = ["sh", "-c", f'exec "$@" {shell}', "sh", *command]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=40, check=False, env={**os.environ, **(env or {})}, cwd=cwd
    )
    assert done.returncode == code, done
    for word in ("panicked", "Fatal", "Aborted", "ResourceWarning"):
        assert word not in done.stderr, done.stderr
    return json.loads(report.read_text())


@pytest.mark.quick
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_descriptors_that_are_closed(folder, path, seen, closed):
    """Whoever prints then writes to descriptor 1: that must be no connection of the bus."""
    said = run(folder, path, shell=closed)
    assert said["got"] == list(range(1, 101))
    assert said["standard"] == [], said
    seen(f"{closed} closed: 100 of 100, no bus socket below 3")


@pytest.mark.quick
def test_a_working_directory_that_is_gone(folder, path, seen):
    gone = folder / "gone"
    gone.mkdir()
    said = run(folder, path, f"os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})")
    assert said["got"] == list(range(1, 101))
    seen("no working directory: works")


@pytest.mark.parametrize(
    ("limit", "value"), [("FSIZE", 0), ("NPROC", 1), ("NOFILE", 16), ("NOFILE", 10), ("MEMLOCK", 0), ("STACK", 1 << 20)]
)
def test_small_limits(folder, path, seen, limit, value):
    """In each of them a round works, or fails with an error of Python."""
    lifted = "\nraised = True" if limit != "FSIZE" else ""
    before = f"""
    import resource
    what = resource.RLIMIT_{limit}
    inner = main
    async def main(path, report):
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, ({value}, hard))
        real, files = open, []
        globals()["open"] = lambda *a: (resource.setrlimit(what, (hard, hard)), real(*a))[1]
        await inner(path, report)
    """
    said = run(folder, path, before + lifted)
    assert said.get("got") == list(range(1, 101)) or ": " in said.get("error", ""), said
    assert not os.path.exists(path)
    seen(f"{limit}={value}: {said.get('error') or 'works'}")


def test_a_large_environment_and_development_mode(folder, path, seen):
    many = {f"FILLER_{number}": "x" * 1000 for number in range(1000)}
    assert run(folder, path, env=many)["got"] == list(range(1, 101))
    assert run(folder, path, flags=("-X", "dev", "-W", "error"))["got"] == list(range(1, 101))
    seen("1 MB of environment, -X dev -W error: work")


@pytest.mark.quick
@pytest.mark.parametrize("size", ["1", "18446744073709551615"])
def test_an_environment_that_sizes_the_stacks_of_threads(folder, path, seen, size):
    """Of Rust's threads, which take what it says if nobody else does: one page ended the process by SIGSEGV."""
    assert run(folder, path, env={"RUST_MIN_STACK": size})["got"] == list(range(1, 101))
    seen(f"RUST_MIN_STACK={size}: works")


def test_both_sides_stopped_beyond_every_timeout(bench, seen):
    """A suspended laptop: nothing was late for anybody who slept as well."""
    b = bench({"ping_interval": 0.5, "ping_timeout": 1.5, "frame_timeout": 1.0, "stall_timeout": 1.0}, canary=False)
    reader = b.reader()
    flood = b.flood(rate=500, count=2000, config={"congestion": "block"})
    time.sleep(0.5)
    sleepers = [b.broker, reader, flood]
    for sleeper in sleepers:
        freeze(sleeper.pid)
    time.sleep(scaled(3, 8, 60))
    # In whichever order they wake.
    for sleeper in sleepers:
        sleeper.thaw()
    done = flood.json(30)
    got = reader.ask(timeout=30, expect=2000, within=20)
    lost = got["missing"]
    assert got["twice"] == 0
    assert got["received"] + lost == done["tried"], (got, done)
    assert lost == got["dropped_before"] or got["gaps"] > 0, got
    assert b.refused("frame_timeout") == 0
    seen(f"all three stopped: {got['received']} of {done['tried']}, {lost} lost, {got['gaps']} breaks told")


def test_both_sides_stopped_again_after_a_moment(bench, seen):
    """The moment is long enough to ask who is there, and no time to answer."""
    b = bench({"ping_interval": 0.5, "ping_timeout": 2.0}, canary=False)
    reader = b.reader()
    time.sleep(0.2)
    for sleeper in (reader, b.broker):
        freeze(sleeper.pid)
    for asleep in (3, 3):
        time.sleep(asleep)
        b.broker.thaw()
        # Under half of what the reader has from the question on.
        time.sleep(0.3)
        freeze(b.broker.pid)
    b.broker.thaw()
    reader.thaw()
    b.flood(count=10).json()
    got = reader.ask(expect=10, within=10)
    assert (got["received"], got["gaps"]) == (10, 0), got
    assert b.refused("ping_timeout") == 0
    seen("asleep for 2 x 3 s with 2 x 0.3 s between: still connected")


def test_a_broker_stopped_longer_than_its_clients_wait(bench, seen):
    b = bench({"ping_interval": 0.5, "ping_timeout": 1.5}, canary=False)
    reader = b.reader()
    asleep = scaled(3, 8, 60)
    flood = b.flood(rate=200, count=1000, patience=asleep + 30, config={"congestion": "block", "publish_timeout": 1.0})
    time.sleep(0.5)
    freeze(b.broker.pid)
    time.sleep(asleep)
    b.broker.thaw()
    done = flood.json(60)
    got = reader.ask(expect=done["published"], within=5)
    assert got["twice"] == 0
    assert b.refused("ping_timeout") == 0, "it slept itself"
    assert got["received"] + got["missing"] <= done["tried"]
    until(lambda: b.statistics()["active_subscribers"] == 1, 5, "still subscribed")
    b.flood(count=10, sender="after").json()
    after = reader.ask(expect=got["received"] + 10, within=5)
    assert after["received"] >= got["received"] + 10, after
    seen(f"broker stopped: {got['received']} of {done['tried']}, {got['gaps']} breaks, then 10 of 10")


def test_many_half_frames_of_the_largest_size(bench, seen):
    """What has been read and is not whole is bounded as well: by the largest frame and the connections that may be."""
    count = times(scaled(16, 60))
    b = bench({"max_connections": count + 4, "frame_timeout": 30.0})
    peers = [b.connected() for _ in range(count)]
    for peer in peers:
        peer.write((1 << 20).to_bytes(4, "little") + b"\x10" * ((1 << 20) - 1))
    b.undisturbed(latency=False)
    grown = b.grown()
    assert grown < count * 2.2 + 10, grown
    b.hang_up()
    b.back_to_base()
    until(lambda: b.grown() < 16, 5, "given back")
    assert isinstance(b.reading(), Reading)
    seen(f"{count} half frames of 1 MiB: {grown:+.0f} MiB, then {b.grown():+.1f}; {b.undisturbed(latency=False)}")
