"""Ends in a given way, in the middle of traffic: exit_under_load.py PATH END, with END one of
script, exit3, error, sigint, thread. The broker lives in this process."""

import asyncio
import os
import signal
import sys
import threading

from daemoneye_eventbus import Broker, ConnectionClosed, EventBus, ProcessEvent, WouldBlock

path, end = sys.argv[1:]


async def pump(bus):
    number = 0
    while True:
        await bus.publish(ProcessEvent(pid=number & 0xFFFF, name="sh"))
        number += 1
        if number % 10 == 0:
            await asyncio.sleep(0.0005)


async def sink(events):
    async for _ in events:
        pass


async def main():
    global broker, remote, local, far, near, tasks
    broker = Broker(path)
    await broker.start()
    remote = await EventBus.connect(path)
    local = await EventBus.from_broker(broker)
    far = await remote.subscribe("events.#")
    near = await local.subscribe("events.#")
    tasks = [asyncio.create_task(t) for t in (pump(remote), pump(local), sink(far), sink(near))]
    await asyncio.sleep(0.15)
    print("busy", flush=True)
    if end == "exit3":
        sys.exit(3)
    if end == "error":
        raise LookupError("uncaught")
    if end == "sigint":
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(60)
    if end == "thread":

        def publish():
            while True:
                try:
                    local.publish_nowait(ProcessEvent(pid=1, name="sh"))
                except WouldBlock:
                    pass
                except ConnectionClosed:
                    return

        threading.Thread(target=publish, daemon=True).start()
        await asyncio.sleep(0.05)


asyncio.run(main())
