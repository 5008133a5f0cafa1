"""A publisher without a running loop and without a descriptor to spare, before a broker that takes nothing any more.

python tests/programs/blocked.py PATH: says when it is connected, and on a line on stdin publishes until there is no
room. Says how much processor time it took in the half second after that, and after another line how much was not sent.
"""

import asyncio
import json
import resource
import sys
import time

from daemoneye_eventbus import ClientConfig, EventBus, ProcessEvent, WouldBlock


def say(**fields):
    print(json.dumps(fields), flush=True)


def main(path):
    with asyncio.Runner() as runner:
        config = ClientConfig(pool=False, send_buffer_bytes=1 << 20)

        async def connect():
            return await EventBus.connect(path, config=config)

        bus = runner.run(connect())
        say(ready=True)
        sys.stdin.readline()
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        try:
            while True:
                bus.publish_nowait(ProcessEvent(pid=1, name="sh", command_line="x" * 1000))
        except WouldBlock:
            pass
        begun = time.process_time()
        time.sleep(0.5)
        say(seconds=time.process_time() - begun)
        sys.stdin.readline()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        runner.run(bus.flush())
        say(unsent=bus.local_statistics()["unsent"])
        runner.run(bus.shutdown())


main(sys.argv[1])
