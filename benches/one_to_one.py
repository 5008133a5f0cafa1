"""One publisher, the broker and one subscriber, each a process of its own: typed events a second, nothing lost.

``python benches/one_to_one.py [EVENTS]``. The event is built for each message; both ends wait for each other
(``block``). Compare builds by running them in turn, and trust ratios: machines drift.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from daemoneye_eventbus import Broker, ClientConfig, EventBus, ProcessEvent

COMMAND_LINE = "/usr/bin/chrome --type=renderer --lang=en-US --num-raster-threads=4"


def report(rate: float) -> None:
    """One line of JSON: the rate, and the CPU seconds of this process."""
    times = os.times()
    print(
        json.dumps({"events_per_second": round(rate), "cpu_seconds": round(times.user + times.system, 2)}), flush=True
    )


async def subscribe(path: str, count: int) -> None:
    """Reads a field of every event."""
    async with EventBus.connect(path) as bus, bus.subscribe("events.process.*", overflow="block") as events:
        print("ready", flush=True)
        first = await events.get()
        begin, last, expected = time.perf_counter(), first.event, 1
        async for received in events:
            last = received.event
            assert isinstance(last, ProcessEvent)
            assert last.pid == expected
            expected += 1
            if expected == count:
                break
        report(count / (time.perf_counter() - begin))


async def publish(path: str, count: int) -> None:
    """Builds and publishes each event."""
    async with EventBus.connect(path, config=ClientConfig(congestion="block")) as bus:
        begin = time.perf_counter()
        for pid in range(count):
            event = ProcessEvent(
                pid=pid,
                name="chrome",
                command_line=COMMAND_LINE,
                executable_path="/usr/bin/chrome",
                ppid=1000,
                metadata={"user": "alice"},
            )
            await bus.publish(event, "correlation-123")
        await bus.flush(60)
        report(count / (time.perf_counter() - begin))


async def serve(path: str) -> None:
    """A broker until its standard input ends."""
    async with Broker(path):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
    report(0)


def main() -> None:
    """Starts the three and prints what they say."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "bus.sock")

        def start(role: str) -> subprocess.Popen[str]:
            command = [sys.executable, __file__, role, path, str(count)]
            return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        broker, said = start("serve"), {}
        assert broker.stdout is not None
        broker.stdout.readline()
        subscriber = start("subscribe")
        assert subscriber.stdout is not None
        subscriber.stdout.readline()
        publisher = start("publish")
        for name, child in (("publisher", publisher), ("subscriber", subscriber), ("broker", broker)):
            said[name] = child.communicate()[0].strip()
        for name, line in said.items():
            print(f"{name:<11}{line}")


if __name__ == "__main__":
    if len(sys.argv) == 4:  # noqa: PLR2004  # role, path, count
        role = {"serve": lambda p, _n: serve(p), "subscribe": subscribe, "publish": publish}[sys.argv[1]]
        asyncio.run(role(sys.argv[2], int(sys.argv[3])))
    else:
        main()
