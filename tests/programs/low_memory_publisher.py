"""Publishes what there is little memory for, then with enough; prints how it went. Argument: a socket path."""

import asyncio
import json
import sys

from address_space import limit

from daemoneye_eventbus import ClientConfig, EventBus, ProcessEvent

ROOM = (0, 1_500_000, 3_000_000, 8_000_000)
TRIES = 40


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
