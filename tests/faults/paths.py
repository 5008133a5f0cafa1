"""Starting a broker at paths that must be refused, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

TRY = """
import asyncio, gc, json, os, sys, time
from daemoneye_eventbus import Broker, EventBusError
def held():
    gc.collect()
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
async def main(path):
    begin = time.monotonic()
    try:
        broker = Broker(path)
        await broker.start()
    except (EventBusError, ValueError, OSError) as error:
        return {"error": type(error).__name__, "message": str(error), "took": time.monotonic() - begin}
    await broker.shutdown()
    return {"running": str(broker.path)}
path = eval(sys.argv[1])
before = held()
said = asyncio.run(main(path))
deadline = time.monotonic() + 1
while held() != before and time.monotonic() < deadline:
    time.sleep(0.01)
print(json.dumps({**said, "left": [b - a for a, b in zip(before, held())]}))
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
    assert said["left"] == [0, 0], said
    return said
