"""One round of broker and bus under a filter of system calls: sandboxed.py PATH CALL ERRNO start|later.

Prints what came out of each step ("hangs" if nothing did within its time), how much came, and what is left beside the lock file.
"""

import asyncio
import ctypes
import json
import os
import struct
import sys

from daemoneye_eventbus import Broker, ClientConfig, EventBus, EventBusError, ProcessEvent

PATH, CALL, ERRNO, WHEN = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
CONFIG = ClientConfig(pool=False, connect_timeout=1.0)
SET_SECCOMP, SET_NO_NEW_PRIVILEGES, FILTER = 22, 38, 2
LOAD, IS_EQUAL, RETURN = 0x20, 0x15, 0x06
REFUSE, ALLOW = 0x00050000, 0x7FFF0000


def refuse():
    """From now on this thread, and those that it starts, get ERRNO for CALL."""
    libc = ctypes.CDLL(None, use_errno=True)
    rows = [(LOAD, 0, 0, 0), (IS_EQUAL, 0, 1, CALL), (RETURN, 0, 0, REFUSE | ERRNO), (RETURN, 0, 0, ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows))
    filter_ = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rows), ctypes.addressof(code)))
    for arguments in ((SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0), (SET_SECCOMP, FILTER, filter_, 0, 0)):
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


async def main():
    said = {}

    async def step(name, work):
        try:
            return await asyncio.wait_for(work, 8)
        except TimeoutError as error:
            said[name] = (
                "hangs" if not str(error) and not isinstance(error, EventBusError) else f"TimeoutError: {error}"
            )
        except (EventBusError, OSError) as error:
            said[name] = f"{type(error).__name__}: {error}"
        return None

    if WHEN == "start":
        refuse()
    broker = Broker(PATH)
    await step("start", broker.start())
    if "start" not in said:
        bus = await step("connect", EventBus.connect(PATH, config=CONFIG))
        if WHEN == "later":
            refuse()
            other = await step("another", EventBus.connect(PATH, config=CONFIG))
            if other is not None:
                await step("end of another", other.shutdown())
        if bus is not None:
            await use(bus, said, step)
        await step("shutdown", broker.shutdown(1.0))
    said["left"] = [name for name in os.listdir(os.path.dirname(PATH)) if not name.endswith(".lock")]
    print(json.dumps(said), flush=True)


async def use(bus, said, step):
    got = []

    async def receive():
        while len(got) < 50:
            got.extend(await events.get_many(100, timeout=1))

    events = await step("subscribe", bus.subscribe("events.#"))
    for pid in range(50):
        await step("publish", bus.publish(ProcessEvent(pid, "sh")))
    # What has no timeout of its own waits for a connection as long as it takes.
    said_so = (EventBusError, TimeoutError)
    try:
        await bus.flush(timeout=2)
        await receive()
    except said_so as error:
        said["flush"] = f"{type(error).__name__}: while the connection is {bus.state}, {bus.local_statistics()}"
    said["received"] = len(got)
    await step("statistics", bus.statistics())
    if events is not None:
        await step("close", events.close())
    await step("end", bus.shutdown())


asyncio.run(main())
