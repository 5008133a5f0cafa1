"""Daemon threads that connect for as long as they can, while the interpreter ends: exit_while_connecting.py PATH."""

import asyncio
import gc
import sys
import threading
from collections import deque

from daemoneye_eventbus import ClientConfig, EventBus

AT_ONCE = 1000

# Before 3.14 the interpreter ends a thread that comes back to it then, which aborts in a finaliser below native code.
gc.disable()
# Threads take turns as often as they can.
sys.setswitchinterval(1e-6)
many = threading.Event()


async def dial(path: str) -> None:
    config = ClientConfig(connect_timeout=60, reconnect_initial=60, reconnect_max=60, pool=False)
    dialling: deque[asyncio.Task] = deque()
    while True:
        dialling.append(asyncio.create_task(EventBus.connect(path, config=config)))
        await asyncio.sleep(0)
        if len(dialling) >= AT_ONCE:
            many.set()
            dialling.popleft().cancel()


for _ in range(3):
    threading.Thread(target=asyncio.run, args=(dial(sys.argv[1]),), daemon=True).start()
assert many.wait(60)
