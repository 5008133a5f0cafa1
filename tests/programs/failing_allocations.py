"""A subscriber whose interpreter fails one allocation, each in turn, while it reads.

python tests/programs/failing_allocations.py PATH WHERE WHAT: ``socket`` or ``process``; ``event``, ``control``,
``awaited``, ``iterated`` or ``many``. Says as JSON how often it was told so and what came, in order.
"""

import _testcapi
import asyncio
import json
import sys
import types

from daemoneye_eventbus import Broker, EventBus, ProcessEvent

ALLOCATIONS = 60


async def one(events, into):
    into[0] = events.get_nowait()


async def awaited(events, into):
    into[0] = await events.get()


@types.coroutine
def iterating(operation):
    """Steps it as `await` does from Python 3.12 on, with what has no other way than ``StopIteration`` for a result."""
    return (yield from map(id, operation))


async def iterated(events, into):
    into[0] = await iterating(events.get())


async def many(events, into):
    into[0] = await events.get_many(3, 1)


async def read(events, take):
    got, failed = [], 0
    for at in range(ALLOCATIONS):
        pending = events.pending
        # A turn of the loop, which would not survive it, is behind us: the one that yields for it is given up.
        while not events._must_yield(False):
            pass
        yielded = events.get()
        yielded.send(None)
        yielded.close()
        # Nothing is allocated between the reader's return and the end of this.
        received = [None]
        _testcapi.set_nomemory(at, at + 1)
        try:
            await take(events, received)
        except MemoryError:
            pass
        finally:
            _testcapi.remove_mem_hooks()
        if received[0] is None:
            failed += 1
            left = events.pending
            assert left == pending, f"{left} of {pending} are left after the failure of allocation {at}"
            await take(events, received)
        got += received[0] if isinstance(received[0], list) else received
    return [number(each) for each in got], failed


def number(received):
    return received.event.pid if hasattr(received, "event") else int(received.payload)


async def main(path, where, what):
    async with (
        Broker(path) as broker,
        EventBus.from_broker(broker) if where == "process" else EventBus.connect(path) as bus,
    ):
        async with bus.subscribe("#", include_control=True) as events:
            for at in range(3 * ALLOCATIONS):
                if what == "control":
                    await bus.publish_control("control.work", str(at).encode())
                else:
                    await bus.publish(ProcessEvent(pid=at, name="sh"))
            await bus.flush()
            while events.pending < 3 * ALLOCATIONS:
                await asyncio.sleep(0.01)
            got, failed = await read(events, READ[what])
            own = bus.local_statistics()
            print(
                json.dumps(
                    {
                        "got": got,
                        "failed": failed,
                        "delivered": own["delivered"],
                        "dropped": events.dropped,
                        "pending": events.pending,
                    }
                )
            )


READ = {"event": one, "control": one, "awaited": awaited, "iterated": iterated, "many": many}

asyncio.run(main(*sys.argv[1:]))
