"""A host that blocks signals in its only thread, with a broker and a bus at work: masked.py PATH

First it waits for a signal that would end it, then it leaves a handler alone for a while. Prints what came, as JSON.
"""

import asyncio
import json
import os
import signal
import sys
import time

from daemoneye_eventbus import Broker, ClientConfig, EventBus


async def main(path):
    async with Broker(path), EventBus.connect(path, config=ClientConfig(pool=False)) as bus:
        await bus.flush()
        came = []
        signal.signal(signal.SIGUSR1, lambda *_: came.append("handled"))
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
        # Whoever does not block them has them by now.
        time.sleep(0.2)
        assert signal.sigwait({signal.SIGTERM}) == signal.SIGTERM
        came.append("waited for")
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        await bus.flush()
        print(json.dumps(came), flush=True)


asyncio.run(main(sys.argv[1]))
