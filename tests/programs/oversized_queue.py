"""Subscribes with more room in its queue than memory, fills it and reads it; prints what came. Argument: a path."""

import asyncio
import json
import sys

from address_space import limit, line

from daemoneye_eventbus import EventBus

ROOM = 30 << 20


async def main(path: str) -> None:
    got, refused = 0, 0
    async with EventBus.connect(path) as bus, bus.subscribe("events.#", queue_bytes=10**10) as subscription:
        limit(ROOM)
        print("limited", flush=True)
        # Until all is on its way.
        await line()
        await bus.flush()
        held = subscription.pending
        while subscription.pending and refused < 20:
            try:
                got += len(await subscription.get_many(100))
            except MemoryError:
                refused += 1
        limit(None)
        told = {
            "held": held,
            "got": got,
            "refused": refused,
            "dropped": subscription.dropped,
            "gaps": subscription.gaps,
        }
    print(json.dumps(told))


asyncio.run(main(sys.argv[1]))
