"""A subscriber in whose process there is no memory for a large event, for a while.

python tests/programs/low_memory_reads.py PATH CASE, where CASE is ``nowait``, ``many`` or ``line``. Prints as JSON
what it got.
"""

import asyncio
import contextlib
import json
import resource
import sys

from daemoneye_eventbus import Broker, EventBus, ProcessEvent
from daemoneye_eventbus._waiters import Waiters

LARGE = "x" * (30 << 10)


@contextlib.contextmanager
def squeezed():
    """Nothing of 24 KiB or more can be allocated meanwhile."""
    hog = []
    page = resource.getpagesize()
    with open("/proc/self/statm", encoding="ascii") as statm:
        used = int(statm.read().split()[0]) * page
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used, before[1]))
    try:
        for size in (1 << 20, 64 << 10, 24 << 10):
            with contextlib.suppress(MemoryError):
                while True:
                    hog.append(bytes(size))
        yield
    finally:
        hog.clear()
        resource.setrlimit(resource.RLIMIT_AS, before)


def tried(take):
    try:
        return take()
    except BaseException as error:  # whatever it is, it is told
        return type(error).__name__


def pid(events):
    return lambda: events.get_nowait().event.pid


async def nowait(bus, events):
    with squeezed():
        got = [tried(pid(events))]
    return got + [tried(pid(events)) for _ in range(3)]


async def many(bus, events):
    async def take():
        try:
            return [received.event.pid for received in await events.get_many(10, 1)]
        except BaseException as error:
            return type(error).__name__

    with squeezed():
        got = [await take(), await take()]
    return [*got, await take()]


async def line(bus, events):
    for _ in range(3):
        events.get_nowait()
    woken = Waiters.wake_one

    def wake_one(self, *, direct=False):
        Waiters.wake_one = woken
        with squeezed():
            woken(self, direct=direct)

    async def take():
        return (await events.get()).event.pid

    readers = [asyncio.create_task(take()) for _ in range(2)]
    await asyncio.sleep(0)
    Waiters.wake_one = wake_one
    await bus.publish(ProcessEvent(pid=3, name="sh", command_line=LARGE))
    done, waiting = await asyncio.wait(readers, timeout=5)
    for reader in waiting:
        reader.cancel()
    return sorted((tried(reader.result) for reader in done), key=str)


async def main(path, case):
    async with Broker(path), EventBus.connect(path) as bus:
        async with bus.subscribe("events.#") as events:
            await bus.publish(ProcessEvent(pid=0, name="sh"))
            for number in (1, 2):
                await bus.publish(ProcessEvent(pid=number, name="sh", command_line=LARGE))
            await bus.flush()
            while events.pending < 3:
                await asyncio.sleep(0.01)
            if case == "nowait":
                events.get_nowait()
            got = await globals()[case](bus, events)
            own = bus.local_statistics()
            print(json.dumps({"got": got, "pending": events.pending, "delivered": own["delivered"]}))


asyncio.run(main(*sys.argv[1:]))
