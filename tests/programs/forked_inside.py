"""fork() inside a coroutine: the child shares the parent's selector, and must not disturb it.

The child awaits on the loop it was born in, forgets everything, and ends; the parent goes on.
"""

import asyncio
import gc
import os
import sys
import warnings

from daemoneye_eventbus import Broker, EventBus, ForkedProcess, ProcessEvent

warnings.simplefilter("ignore", DeprecationWarning)
path = sys.argv[1]


async def child(broker, bus, events):
    for inherited in (broker, bus, events):
        # Whoever logs or debugs the child may show everything.
        assert repr(inherited)
    for call in (
        lambda: bus.publish(ProcessEvent(pid=1, name="child")),
        lambda: bus.flush(),
        lambda: bus.subscribe("events.#"),
        lambda: events.get(),
        lambda: events.close(),
        lambda: bus.shutdown(),
    ):
        try:
            await call()
        except ForkedProcess:
            continue
        return 1
    return 0


async def main():
    async with Broker(path) as broker:
        bus = await EventBus.connect(path)
        events = await bus.subscribe("events.#")
        pid = os.fork()
        if pid == 0:
            code = await child(broker, bus, events)
            del bus, events
            gc.collect()
            os._exit(code)
        status = os.waitpid(pid, 0)[1]
        for number in range(100):
            await bus.publish(ProcessEvent(pid=number, name="parent"))
        got = [(await events.get(timeout=5)).event.pid for _ in range(100)]
        assert got == list(range(100)), got
        await events.close()
        await bus.shutdown()
        print(status, flush=True)


asyncio.run(main())
