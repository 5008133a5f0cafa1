"""A child that goes on running its parent's event loop while that stands still: what it logs.

forked_loop.py PATH. Events come from elsewhere; a line on stdin says that they are there.
"""

import asyncio
import json
import logging
import os
import sys
import time
import warnings

from daemoneye_eventbus import ClientConfig, EventBus, ProcessEvent

warnings.simplefilter("ignore", DeprecationWarning)
path = sys.argv[1]
SOLO = ClientConfig(pool=False)


class Kept(logging.Handler):
    def __init__(self):
        super().__init__()
        self.said = []

    def emit(self, record):
        self.said.append((record.name, record.getMessage()))


async def main():
    loop = asyncio.get_running_loop()
    async with EventBus.connect(path, config=SOLO) as one, EventBus.connect(path, config=SOLO) as other:
        events = [await bus.subscribe("events.#") for bus in (one, other)]
        for pid in range(2):
            # The second is written in a turn that the child has as well.
            await one.publish(ProcessEvent(pid=pid, name="sh"))
        kept = Kept()
        pid = os.fork()
        if pid == 0:
            logging.getLogger().addHandler(kept)
            print(json.dumps({"child": os.getpid()}), flush=True)
            sys.stdin.readline()
            ends = loop.create_future()
            loop.call_later(0.3, ends.set_result, None)
            await ends
            print(json.dumps(kept.said), flush=True)
            os._exit(0)
        # Nobody takes from the kernel what has come: the child sees it in each turn.
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            time.sleep(0.01)
        got = [sorted([(await one.get(timeout=10)).event.pid for _ in range(3)]) for one in events]
        print(json.dumps(got), flush=True)


asyncio.run(main())
