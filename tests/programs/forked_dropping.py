"""Forks while the broker's thread drops events that were published in this process: forked_dropping.py PATH TIMES.

The first line says that there is a queue, in which messages of other processes are to take the place of those events.
The next, after a line from them, how the children ended, by exit code, where -9 is one that was still in its fork's
hooks after 3 s; and whether events were dropped.
"""

import asyncio
import json
import os
import signal
import sys
import time
import warnings
from collections import Counter

from daemoneye_eventbus import Broker, CorrelationMetadata, EventBus, ProcessEvent

warnings.simplefilter("ignore", DeprecationWarning)
path, times = sys.argv[1], int(sys.argv[2])


def fork():
    """How the child ended."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    deadline = time.monotonic() + 3
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            deadline += 60
        time.sleep(0.0005)
    return os.waitstatus_to_exitcode(ended[1])


async def main():
    event = ProcessEvent(pid=1, name="sh")
    correlation = CorrelationMetadata("c")
    ends = Counter()
    async with (
        Broker(path) as broker,
        EventBus.from_broker(broker) as bus,
        bus.subscribe("events.#", queue_bytes=64 * 1024) as events,
    ):
        print(json.dumps({"ready": True}), flush=True)
        sys.stdin.readline()
        while ends.total() == ends[0] < times:
            for _ in range(400):
                bus.publish_nowait(event, correlation)
            ends[fork()] += 1
            await asyncio.sleep(0)
        print(json.dumps({"ends": ends, "busy": events.dropped > 1000}), flush=True)


asyncio.run(main())
