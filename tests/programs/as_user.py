"""Runs another program under another uid: as_user.py UID[:GID[,GID...]] SCRIPT ARGS...

Without groups the gid is the uid, and there are no others.

The interpreter is loaded before the rights are dropped, since it may live where that user
cannot read; so everything that is imported late is imported here first.
"""

import importlib
import os
import sys
from pathlib import Path

import daemoneye_eventbus

LATER = (
    "asyncio",
    "concurrent.futures.thread",
    "contextlib",
    "ctypes",
    "fcntl",
    "json",
    "socket",
    "struct",
)

who, _, groups = sys.argv[1].partition(":")
uid, script = int(who), sys.argv[2]
gids = [int(gid) for gid in groups.split(",")] if groups else [uid]
for name in LATER:
    importlib.import_module(name)
for name in daemoneye_eventbus.__all__:
    getattr(daemoneye_eventbus, name)
code = compile(Path(script).read_text(encoding="utf-8"), script, "exec")
sys.argv = sys.argv[2:]
os.setgroups(gids[1:])
os.setresgid(gids[0], gids[0], gids[0])
os.setresuid(uid, uid, uid)
exec(code, {"__name__": "__main__", "__file__": script})
