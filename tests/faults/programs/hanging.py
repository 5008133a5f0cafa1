"""A broker whose file system hangs: hanging.py PATH.

From a moment on, whoever looks at a name or removes one waits (seccomp holds the call), as on a file system of a network that is gone.
Prints the longest time from publish to receipt before and then, how long a shutdown and a start took that was given up, and whether the
next broker starts once the file system is back.
"""

import asyncio
import ctypes
import fcntl
import json
import os
import struct
import sys
import threading
import time
from concurrent.futures import Future

from daemoneye_eventbus import Broker, ClientConfig, EventBus, ProcessEvent

PATH = sys.argv[1]
CONFIG = ClientConfig(pool=False)
LIBC = ctypes.CDLL(None, use_errno=True)
SET_NO_NEW_PRIVILEGES = 38
SECCOMP, SET_FILTER, NEW_LISTENER = 317, 1, 8
RECEIVE, SEND, CONTINUE = 0xC0502100, 0xC0182101, 1
NOTICE = 80
LOAD, IS_EQUAL, RETURN = 0x20, 0x15, 0x06
ASK, ALLOW = 0x7FC00000, 0x7FFF0000
LOOK, REMOVE, NO_FOLLOW = 262, 263, 0x100
HANGING, ASKED = threading.Event(), threading.Event()


def watch():
    """From now on this thread, and those that it starts, wait for `answer` before they look at a name or remove one."""
    rows = [
        (LOAD, 0, 0, 0),
        (IS_EQUAL, 3, 0, REMOVE),
        (IS_EQUAL, 0, 3, LOOK),
        (LOAD, 0, 0, 16 + 8 * 3),
        (IS_EQUAL, 0, 1, NO_FOLLOW),
        (RETURN, 0, 0, ASK),
        (RETURN, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows))
    filter_ = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rows), ctypes.addressof(code)))
    if LIBC.prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    listener = LIBC.syscall(SECCOMP, SET_FILTER, NEW_LISTENER, filter_)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return listener


def answer(given):
    """Lets calls go on, unless the file system hangs; then when it comes back."""
    listener = given.result()
    while True:
        notice = bytearray(NOTICE)
        fcntl.ioctl(listener, RECEIVE, notice)
        ASKED.set()
        while HANGING.is_set():
            time.sleep(0.01)
        fcntl.ioctl(listener, SEND, bytes(notice[:8]) + struct.pack("qiI", 0, 0, CONTINUE))


async def longest(bus, events, seconds):
    longest, end = 0.0, time.monotonic() + seconds
    while (begin := time.monotonic()) < end:
        await bus.publish(ProcessEvent(1, "sh"))
        await events.get(timeout=30)
        longest = max(longest, time.monotonic() - begin)
        await asyncio.sleep(0.01)
    return longest


async def main():
    broker = Broker(PATH)
    await broker.start()
    said = {}
    async with EventBus.connect(PATH, config=CONFIG) as bus, bus.subscribe("events.#") as events:
        said["before"] = await longest(bus, events, 1.5)
        HANGING.set()
        ASKED.clear()
        said["hanging"] = await longest(bus, events, 3.0)
        said["asked"], said["reachable"] = ASKED.is_set(), broker.reachable
    begin = time.monotonic()
    said["undelivered"] = await broker.shutdown(0.5)
    said["shutdown"] = time.monotonic() - begin
    said["left"] = os.path.exists(PATH)
    HANGING.clear()
    end = time.monotonic() + 5
    while os.path.exists(PATH) and time.monotonic() < end:
        await asyncio.sleep(0.01)
    async with Broker(PATH) as broker:
        said["again"] = broker.running
    HANGING.set()
    broker = Broker(PATH)
    begin = time.monotonic()
    try:
        await asyncio.wait_for(broker.start(), 0.5)
    except TimeoutError:
        await broker.shutdown(0.5)
    said["start"] = time.monotonic() - begin
    HANGING.clear()
    print(json.dumps(said), flush=True)


given = Future()
threading.Thread(target=answer, args=(given,), daemon=True).start()
given.set_result(watch())
asyncio.run(main())
