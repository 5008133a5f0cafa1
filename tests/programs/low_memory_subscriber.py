"""Subscribes with little memory to what needs much; prints what came of it. Arguments: a socket path, bytes of room."""

import asyncio
import json
import sys

from address_space import limit, line

from daemoneye_eventbus import ClientConfig, EventBus, ProcessEvent

NEEDED = 1_000_000
"""What each of them needs at least."""


async def main(path: str, room: int) -> None:
    config = ClientConfig(reconnect_initial=0.01, reconnect_max=0.05)
    async with EventBus.connect(path, config=config) as bus, EventBus.connect(path) as other:
        subscription = await bus.subscribe("events.#")
        await other.publish(ProcessEvent(pid=0, name="x"))
        await subscription.get(5)
        print("ready", flush=True)
        await line()
        limit(room)
        print("limited", flush=True)
        # Until all is on its way, and what cannot be taken has been met.
        await line()
        await asyncio.sleep(0.5)
        while room < NEEDED and not subscription.gaps:
            await asyncio.sleep(0.01)
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
