"""One end of a bus in a pid namespace of its own, as in another container: container.py broker|client PATH

Lines of JSON: null where the system gives no such namespaces; else what came of it.
"""

import asyncio
import ctypes
import json
import os
import sys

from daemoneye_eventbus import Broker, BrokerAlreadyRunning, ClientConfig, EventBus, EventBusError, ProcessEvent

CLONE_NEWPID = 0x20000000


def say(said):
    print(json.dumps(said), flush=True)


async def serve(path):
    try:
        async with Broker(path) as broker:
            say("listening")
            await asyncio.to_thread(sys.stdin.readline)
            say([[client.uid, client.pid] for client in broker.clients()])
    except BrokerAlreadyRunning:
        say("taken")


async def use(path):
    try:
        async with EventBus.connect(path, config=ClientConfig(connect_timeout=3.0)) as bus:
            async with bus.subscribe("events.#") as events:
                await bus.publish(ProcessEvent(pid=7, name="sh"))
                say((await events.get(timeout=5)).event.pid)
                await asyncio.to_thread(sys.stdin.readline)
    except EventBusError as error:
        say(str(error))


if ctypes.CDLL(None).unshare(CLONE_NEWPID):
    say(None)
    sys.exit()
# The namespace is that of children.
child = os.fork()
if child == 0:
    asyncio.run({"broker": serve, "client": use}[sys.argv[1]](sys.argv[2]))
    sys.exit()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
