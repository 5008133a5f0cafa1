"""Publishes in an exit handler that runs behind the package's own, since it is registered before the first use.

exit_handler.py PATH HOW. A broker runs there. HOW: main = one event from the handler; fork = one from a bus that a
forked child of the handler makes; until full = as many as are taken, by a bus whose broker reads nothing; many = at
least 100 large ones, until all are sent; daemon = none, but a daemon thread publishes all the time. Prints how many
were taken.
"""

import asyncio
import atexit
import json
import os
import sys
import threading
import time
import warnings

import daemoneye_eventbus

warnings.simplefilter("always", ResourceWarning)
warnings.simplefilter("ignore", DeprecationWarning)
path, how = sys.argv[1:]


async def connect():
    return await daemoneye_eventbus.EventBus.connect(path)


async def child():
    async with daemoneye_eventbus.EventBus.connect(path) as own:
        own.publish_nowait(event)


async def serve():
    own = daemoneye_eventbus.Broker(path + "-own")
    await own.start()
    return await daemoneye_eventbus.EventBus.from_broker(own)


def publish_on(own):
    while True:
        own.publish_nowait(event)


@atexit.register
def last():
    taken = 0
    if how == "fork":
        pid = os.fork()
        if pid == 0:
            asyncio.run(child())
            os._exit(0)
        os.waitpid(pid, 0)
    most = {"main": 1, "until full": 10**6, "many": 100}.get(how, 0)
    while taken < most or bus.local_statistics()["unsent"]:
        try:
            bus.publish_nowait(event)
        except daemoneye_eventbus.WouldBlock:
            if how == "until full":
                break
            time.sleep(0.001)
        else:
            taken += 1
    print(json.dumps({"taken": taken, "statistics": bus.local_statistics()}), flush=True)


bus = asyncio.run(connect())
event = daemoneye_eventbus.ProcessEvent(pid=7, name="goodbye" + "e" * (60_000 if how in {"until full", "many"} else 0))
if how == "daemon":
    threading.Thread(target=publish_on, args=(asyncio.run(serve()),), daemon=True).start()
print(json.dumps("ready"), flush=True)
sys.stdin.read()
