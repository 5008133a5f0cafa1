"""What programs share that run out of memory on purpose."""

import asyncio
import resource
import sys
from pathlib import Path


def limit(bytes_more: int | None) -> None:
    """Lets this process have so many bytes more than it has; with ``None`` as many as it likes."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = hard
    if bytes_more is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        soft = pages * resource.getpagesize() + bytes_more
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


async def line() -> None:
    """Waits for a line, in no thread: to start one takes more room than there is."""
    loop, came = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sys.stdin, came.set)
    await came.wait()
    loop.remove_reader(sys.stdin)
    sys.stdin.readline()
