"""A child that makes a bus of its own: in the event loop that it has inherited, then in one of its own.

forked_new_bus.py PATH. A broker runs there.
"""

import asyncio
import json
import os
import sys
import warnings

from daemoneye_eventbus import Broker, EventBus, ForkedProcess, ProcessEvent

warnings.simplefilter("ignore", DeprecationWarning)
path = sys.argv[1]


async def connect():
    return await EventBus.connect(path)


async def start():
    await Broker(path + "-child").start()


async def publish():
    async with EventBus.connect(path) as bus:
        await bus.publish(ProcessEvent(pid=1, name="child"))
        await bus.flush()


runner = asyncio.Runner()
bus = runner.run(connect())
pid = os.fork()
if pid == 0:
    said = []
    for make in (connect, start):
        try:
            runner.run(make())
        except ForkedProcess as error:
            said.append([str(error), error.owner_pid, error.current_pid])
    asyncio.run(publish())
    print(json.dumps(said), flush=True)
    os._exit(0)
status = os.waitpid(pid, 0)[1]
runner.run(bus.flush())
runner.run(bus.shutdown())
runner.close()
print(json.dumps([pid, status]), flush=True)
