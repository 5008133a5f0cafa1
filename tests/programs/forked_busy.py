"""Forks while the broker's thread hands over events: forked_busy.py PATH TIMES, and a line when there are some.

Each child asks for its parent's numbers, of queues that the broker's thread may have locked at the fork. Says how the
children ended, by exit code; -14 is one that was still waiting after 5 s.
"""

import asyncio
import json
import os
import signal
import sys
import warnings
from collections import Counter

from daemoneye_eventbus import Broker, EventBus, ForkedProcess

warnings.simplefilter("ignore", DeprecationWarning)
path, times = sys.argv[1], int(sys.argv[2])


def child(bus):
    signal.alarm(5)
    try:
        bus.local_statistics()
    except ForkedProcess:
        os._exit(0)
    os._exit(1)


async def main():
    async with (
        Broker(path) as broker,
        EventBus.from_broker(broker) as bus,
        bus.subscribe("events.#", queue_messages=1) as events,
    ):
        print(json.dumps({"ready": True}), flush=True)
        sys.stdin.readline()
        before = events.dropped
        ends = Counter()
        while ends.total() == ends[0] < times:
            pid = os.fork()
            if pid == 0:
                child(bus)
            ends[os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])] += 1
        print(json.dumps({"ends": ends, "busy": events.dropped > before}), flush=True)


asyncio.run(main())
