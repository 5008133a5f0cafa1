"""Fault 14. The end of a broker that has much to deliver."""

import os
import signal
import time

import pytest
from harness import dump

from support import Program

pytestmark = [
    pytest.mark.fault(
        14,
        "H",
        "SIGTERM, SIGINT, close() twice, close() during start, with 10 k messages queued",
        "drains to a deadline (2 s), undelivered count reported, path gone, exit code right",
    ),
    pytest.mark.limit(120),
]
TWICE = """
import asyncio, sys
from daemoneye_eventbus import Broker
async def main(path):
    broker = Broker(path)
    await broker.start()
    await asyncio.gather(broker.shutdown(), broker.shutdown())
    await broker.shutdown()
    for number in range(20):
        broker = Broker(path)
        starting = asyncio.create_task(broker.start())
        await asyncio.sleep(0.0005 * number)
        await broker.shutdown()
        said = (await asyncio.gather(starting, return_exceptions=True))[0]
        assert said is None or type(said).__name__ in ("ConnectionClosed", "CancelledError"), said
        assert not broker.running
    print("done", flush=True)
asyncio.run(main(sys.argv[1]))
"""


def cli(path: str, *options: str) -> Program:
    child = Program("/dev/null")
    child.close()
    import subprocess
    import sys

    child.child = subprocess.Popen(
        [sys.executable, "-m", "daemoneye_eventbus", "broker", path, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=False,
    )
    return child


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("reading", [True, False], ids=["readers read", "a reader is stopped"])
def test_signalled_with_messages_queued(path, seen, number, reading, raw):
    child = cli(path)
    while not os.path.exists(path):
        assert child.child.poll() is None
        time.sleep(0.01)
    peer = raw(path, timeout=10)
    peer.connect()
    peer.subscribe(1, "events.#")
    source = Program(os.path.join(os.path.dirname(__file__), "programs", "flood.py"), path, dump({"count": 10_000}))
    source.json()
    source.json(30)
    begin = time.monotonic()
    child.child.send_signal(number)
    got = 0
    if reading:
        while (body := peer.receive()) is not None:
            got += body[0] == 0x10
    err = child.child.communicate(timeout=10)[1].decode()
    took = time.monotonic() - begin
    source.close()
    assert child.child.returncode == 0, err
    assert took < 4, took
    assert not os.path.exists(path)
    if reading:
        assert got == 10_000
    else:
        assert "undelivered" in err or "not delivered" in err or "could not" in err, err
    seen(f"{number.name}: {took:.1f} s, {got if reading else err.strip().splitlines()[-1][-60:]}")


def test_closed_twice_and_while_it_starts(path, folder, program):
    (folder / "twice.py").write_text(TWICE)
    child = program(str(folder / "twice.py"), path)
    assert child.line(40) == "done"
    child.finish()
    assert not os.path.exists(path)
