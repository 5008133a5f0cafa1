"""Subscribes with little memory to what needs much; prints what came of it. Arguments: a socket path, bytes of room."""

import asyncio
import json
import resource
import sys
from pathlib import Path

from daemoneye_eventbus import ClientConfig, EventBus, ProcessEvent


def limit(bytes_more: int | None) -> None:
    soft = resource.RLIM_INFINITY
    if bytes_more is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        soft = pages * resource.getpagesize() + bytes_more
    resource.setrlimit(resource.RLIMIT_AS, (soft, resource.RLIM_INFINITY))


async def main(path: str, room: int) -> None:
    config = ClientConfig(reconnect_initial=0.01, reconnect_max=0.05)
    async with EventBus.connect(path, config=config) as bus, EventBus.connect(path) as other:
        subscription = await bus.subscribe("events.#")
        await other.publish(ProcessEvent(pid=0, name="x"))
        await subscription.get(5)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        limit(room)
        await asyncio.sleep(1)
        limit(None)
        got, gap = 0, 0
        await bus.flush(10)
        await other.publish(ProcessEvent(pid=2, name="last"))
        while (event := await subscription.get(5)).event.name != "last":
            got, gap = got + 1, gap + event.dropped_before
        gap += event.dropped_before
        told = {"got": got, "gap": gap, "dropped": subscription.dropped, "gaps": subscription.gaps}
    print(json.dumps(told))


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
