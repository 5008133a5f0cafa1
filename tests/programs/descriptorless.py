"""A process that starts a broker with no descriptor to spare, then with one, and so on until it starts.

python tests/programs/descriptorless.py PATH EACH: EACH tries with every number. Says as JSON what the errors said, each
with its type, and the descriptors that were open before the first try and that are open in the end.
"""

import asyncio
import contextlib
import json
import os
import resource
import sys

from daemoneye_eventbus import Broker


def opened():
    # Without the one that looks.
    return sorted(int(name) for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}"))


async def alone():
    """A broker's thread ends a moment after it, and what it closes until then would be to spare."""
    async with asyncio.timeout(10):
        while len(os.listdir("/proc/self/task")) > 1:
            await asyncio.sleep(0.001)


@contextlib.contextmanager
def only(spare):
    """So many more, and no hole among those that are open."""
    filled = []
    while True:
        filled.append(os.open(os.devnull, os.O_RDONLY))
        if filled[-1] == opened()[-1]:
            break
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (filled[-1] + 1 + spare, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in filled:
            os.close(descriptor)


async def main(path, each):
    # What belongs to the loop stays with it.
    async with Broker(path + ".other"):
        pass
    await alone()
    before = opened()
    said = []
    while True:
        broker = Broker(path)
        with only(len(said) // each):
            try:
                await broker.start()
            except OSError as error:
                said.append((type(error).__name__, str(error)))
            else:
                break
        await alone()
    await broker.shutdown()
    await alone()
    print(json.dumps({"said": said, "before": before, "after": opened()}), flush=True)


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
