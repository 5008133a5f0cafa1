"""Starting a broker at paths that must be refused, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

TRY = """
import asyncio, json, sys, time, threading, os
from daemoneye_eventbus import Broker, EventBusError
async def main(path):
    before = (threading.active_count(), len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")))
    begin = time.monotonic()
    try:
        broker = Broker(path)
        await broker.start()
    except (EventBusError, ValueError, OSError) as error:
        said = {"error": type(error).__name__, "message": str(error), "took": time.monotonic() - begin}
    else:
        said = {"running": broker.path}
        await broker.shutdown()
    await asyncio.sleep(0.05)
    after = (threading.active_count(), len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")))
    said["left"] = [b - a for a, b in zip(before, after)]
    print(json.dumps(said, default=str))
path = eval(sys.argv[1])
asyncio.run(main(path))
"""


def try_path(path: Any, *, user: int | None = None, cwd: str | None = None, umask: int = -1) -> dict[str, Any]:
    """What a broker at this path says: its error and message, or that it ran; and what it left behind (fds, tasks)."""
    import json

    source = TRY
    if user is not None:
        drop = f"os.setgroups([]); os.setresgid({user},{user},{user}); os.setresuid({user},{user},{user})"
        source = TRY.replace("path = eval", f"{drop}\npath = eval")
    done = subprocess.run(
        [sys.executable, "-c", source, repr(path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=cwd,
        umask=umask,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(path: Any, *words: str, error: str = "PathRefused", **options: Any) -> dict[str, Any]:
    """Asserts that a broker there is refused in words that contain all of `words`."""
    said = try_path(path, **options)
    assert said.get("error") == error, said
    for word in words:
        assert word in said["message"], said
    assert said["left"] == [0, 0, 0], said
    return said
