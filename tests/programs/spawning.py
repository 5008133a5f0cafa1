"""multiprocessing with a live bus: spawning.py PATH METHOD (spawn, forkserver or fork)."""

import asyncio
import multiprocessing
import sys
import warnings

from daemoneye_eventbus import Broker, EventBus, ProcessEvent

warnings.simplefilter("ignore", DeprecationWarning)


def work(path: str, number: int) -> int:
    async def run() -> int:
        async with EventBus.connect(path) as bus:
            await bus.publish(ProcessEvent(pid=number, name="child"))
            await bus.flush()
        return number

    return asyncio.run(run())


async def main(path: str, method: str) -> None:
    async with Broker(path), EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
        context = multiprocessing.get_context(method)
        children = [context.Process(target=work, args=(path, n)) for n in range(3)]
        for child in children:
            child.start()
        got = sorted([(await events.get(timeout=15)).event.pid for _ in children])
        for child in children:
            await asyncio.to_thread(child.join, 10)
        assert got == [0, 1, 2], got
        assert [child.exitcode for child in children] == [0, 0, 0]
        print("fine", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
