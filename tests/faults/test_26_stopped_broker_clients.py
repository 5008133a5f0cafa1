"""Fault 26. A broker that stands still, and everybody dials."""

import json
import subprocess
import sys
import time

import pytest
from harness import scaled, times, until

pytestmark = [
    pytest.mark.fault(
        26,
        "H",
        "broker SIGSTOPped, 5,000 clients connect",
        'client API says busy/timeout, never "connected"',
    ),
    pytest.mark.limit(120),
]
DIAL = """
import asyncio, collections, json, socket, sys, resource
from daemoneye_eventbus import EventBus, ClientConfig
resource.setrlimit(resource.RLIMIT_NOFILE, (min(20000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
path, raws, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
held = []
for _ in range(raws):
    one = socket.socket(socket.AF_UNIX)
    one.setblocking(False)
    try:
        one.connect(path)
    except OSError:
        one.close()
        break
    held.append(one)
async def one():
    try:
        await EventBus.connect(path, config=ClientConfig(pool=False, connect_timeout=2.0))
    except Exception as error:
        return type(error).__name__
    return "connected"
async def main():
    return collections.Counter(await asyncio.gather(*(one() for _ in range(count))))
print(json.dumps({"backlog": len(held), **asyncio.run(main())}))
"""


def quiet_dial(b) -> bool:
    try:
        b.connected()
    except (BlockingIOError, AssertionError):  # the backlog is worked off
        return False
    return True


@pytest.mark.parametrize("backlog", [0, 5000], ids=["empty backlog", "full backlog"])
def test_nobody_is_told_that_he_is_connected(bench, seen, backlog):
    b = bench(canary=False)
    b.broker.freeze()
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", DIAL, b.path, str(backlog), str(times(scaled(30, 200)))],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said = json.loads(done.stdout)
    took = time.monotonic() - begin
    held = said.pop("backlog")
    assert set(said) <= {"ConnectTimeout", "BrokerBusy"}, said
    assert took < 20, took
    assert (held < backlog) == bool(backlog), "the backlog never filled"
    b.broker.thaw()
    until(lambda: quiet_dial(b), 5, "usable again")
    seen(f"{held} in the backlog: {said}")
