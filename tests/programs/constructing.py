"""A process that makes events, and calls that are refused. Says as JSON what a hundred thousand of them left behind.

References to what the events hold, and KiB at the most that were ever resident. A process of its own: a collection of
what others left lets references go, and the most that was ever resident may have been reached before.
"""

import contextlib
import json
import resource
import sys

from daemoneye_eventbus import ProcessEvent

NAME, LINE, METADATA = "a name", "a command line", {"a key": "a value"}


def make(count: int) -> None:
    for pid in range(count):
        ProcessEvent(pid=pid, name=NAME, command_line=LINE, executable_path=None, ppid=1000, metadata=METADATA)
        with contextlib.suppress(TypeError):
            ProcessEvent(pid=pid, name=NAME, nonsense=LINE)


def most() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


make(10_000)
held = [NAME, LINE, METADATA, *METADATA, *METADATA.values(), None, ProcessEvent]
before = [sys.getrefcount(thing) for thing in held]
memory = most()
make(100_000)
after = [sys.getrefcount(thing) for thing in held]
grown = [b - a for a, b in zip(before, after, strict=True) if a < 1 << 30]
print(json.dumps({"references": grown, "memory": most() - memory}))
