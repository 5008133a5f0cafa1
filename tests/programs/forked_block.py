"""Forks twice inside a block; one child leaves it by ``sys.exit``, one by its end. Arguments: a path, whose block."""

import asyncio
import os
import sys
import warnings

from daemoneye_eventbus import Broker, EventBus, ForkedProcess, ProcessEvent

# Of Python 3.12 and later: a process with a broker has threads.
warnings.simplefilter("ignore", DeprecationWarning)


def ended() -> int:
    return os.waitstatus_to_exitcode(os.wait()[1])


async def main(path: str, whose: str) -> None:
    async with Broker(path) as broker, EventBus.connect(path) as remote, EventBus.from_broker(broker) as local:
        over_socket, in_process = await remote.subscribe("events.#"), await local.subscribe("events.#")
        blocks = {"remote": remote, "local": local, "over_socket": over_socket, "in_process": in_process}
        child = -1
        try:
            # A broker's block cannot be entered again.
            async with blocks[whose] if whose != "broker" else Broker(f"{path}2"):
                if os.fork() == 0:
                    sys.exit(3)
                print("child", ended(), flush=True)
                child = os.fork()
                if child:
                    ended()
                    await local.publish(ProcessEvent(pid=1, name="sh"))
                    got = await (over_socket if whose == "in_process" else in_process).get(5)
                    print("parent", got.event.pid, flush=True)
        except ForkedProcess as error:
            assert child == 0
            print("child goes on:", type(error).__name__, flush=True)
            os._exit(0)
        except SystemExit as end:
            if sys.version_info < (3, 14):
                raise
            # asyncio has no running loop here any more, and would lose it.
            os._exit(int(end.code or 0))


asyncio.run(main(*sys.argv[1:]))
