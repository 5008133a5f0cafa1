"""Ends while daemon threads are inside native calls that run Python code: iterating, stepping tasks, making texts and
values, flushing.

exit_in_native_calls.py PATH
"""

import asyncio
import sys
import threading
import time

from daemoneye_eventbus import Broker, ClientConfig, ConnectionClosed, EventBus, ProcessEvent, WouldBlock

ready = threading.Barrier(6)


def busy():
    """A switch of threads at every step."""
    for pid in range(1000):
        yield ProcessEvent(pid=pid, name="x")


async def iterating(bus, _path):
    while True:
        await bus.publish_many(busy())


async def waiting(bus, _path):
    async with bus.subscribe("events.#", queue_messages=2) as events:

        async def reading():
            async for received in events:
                repr(received)

        async def publishing():
            while True:
                await bus.publish(ProcessEvent(pid=1, name="x"))

        await asyncio.gather(reading(), reading(), publishing(), publishing())


async def asking(bus, _path):
    async with bus.subscribe("events.#") as events:
        await bus.publish(ProcessEvent(pid=1, name="x"))
        received = await events.get()
        while True:
            _ = received.sender


async def flushing(_bus, path):
    async with EventBus.connect(path) as bus:
        while True:
            for pid in range(2):
                await bus.publish(ProcessEvent(pid=pid, name="x"))
            await asyncio.sleep(0)


async def main(path, work):
    async with Broker(path) as broker, EventBus.from_broker(broker, config=ClientConfig(congestion="block")) as bus:
        ready.wait()
        await work(bus, path)


def run(number, work):
    try:
        asyncio.run(main(f"{sys.argv[1]}.{number}", work))
    except (ConnectionClosed, WouldBlock):
        # The broker was stopped at exit before this thread was.
        time.sleep(60)


sys.setswitchinterval(1e-6)
for number, work in enumerate((iterating, iterating, waiting, asking, flushing)):
    threading.Thread(target=run, args=(number, work), daemon=True).start()
ready.wait()
time.sleep(0.1)
