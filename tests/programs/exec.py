"""Starts a program from a process with broker and bus, with close_fds off: exec.py PATH."""

import asyncio
import subprocess
import sys

from daemoneye_eventbus import Broker, EventBus

LIST = """
import json, os
got = []
for fd in os.listdir("/proc/self/fd"):
    try:
        target = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        continue
    if int(fd) > 2 and "/proc/" not in target:
        got.append(target)
print(json.dumps({"inherited": got}))
"""


async def main() -> None:
    async with Broker(sys.argv[1]) as broker, EventBus.connect(sys.argv[1]) as bus:
        async with EventBus.from_broker(broker), bus.subscribe("events.#"):
            print(subprocess.check_output([sys.executable, "-c", LIST], close_fds=False).decode())


asyncio.run(main())
