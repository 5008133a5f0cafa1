"""A client of another user that dials without rest: connecting_in_a_loop.py PATH.

One bus is there all along and dials again, others come and go. At a line on stdin it says what was refused to either.
"""

import asyncio
import json
import sys

from daemoneye_eventbus import ClientConfig, EventBus, EventBusError, ProcessEvent

EAGER = ClientConfig(pool=False, connect_timeout=30, reconnect_initial=0.0005, reconnect_max=0.001)


async def main(path: str) -> None:
    refused = []

    async def come_and_go() -> None:
        while True:
            try:
                async with EventBus.connect(path, config=EAGER):
                    pass
            except EventBusError as error:
                refused.append(repr(error))

    bus = await EventBus.connect(path, config=EAGER)
    others = [asyncio.create_task(come_and_go()) for _ in range(4)]
    print(json.dumps({"ready": True}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for other in others:
        other.cancel()
    await asyncio.wait(others)
    try:
        await bus.publish(ProcessEvent(pid=1, name="sh"))
        await bus.flush()
    except EventBusError as error:
        refused.append(repr(error))
    print(json.dumps({"refused": refused}), flush=True)


asyncio.run(main(sys.argv[1]))
