"""Publishes what there is little memory for, then with enough; prints how it went. Argument: a socket path."""

import asyncio
import json
import resource
import sys
from pathlib import Path

from daemoneye_eventbus import ClientConfig, EventBus, ProcessEvent

ROOM = (0, 1_500_000, 3_000_000, 8_000_000)
TRIES = 40


def limit(bytes_more: int | None) -> None:
    soft = resource.RLIM_INFINITY
    if bytes_more is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        soft = pages * resource.getpagesize() + bytes_more
    resource.setrlimit(resource.RLIMIT_AS, (soft, resource.RLIM_INFINITY))


async def main(path: str) -> None:
    taken, refused, said = 0, 0, ""
    async with EventBus.connect(path, config=ClientConfig(congestion="block")) as bus:
        await bus.flush()
        heavy = ProcessEvent(pid=1, name="x" * 1_000_000)
        for room in ROOM:
            limit(room)
            for _ in range(TRIES):
                try:
                    await bus.publish(heavy)
                    taken += 1
                except MemoryError as error:
                    refused, said = refused + 1, str(error)
                await asyncio.sleep(0.001)
            limit(None)
            await bus.flush()
        await bus.publish(heavy)
        await bus.flush()
    print(json.dumps({"taken": taken + 1, "refused": refused, "said": said}))


asyncio.run(main(sys.argv[1]))
