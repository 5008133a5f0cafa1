"""Runs another program under another uid: as_user.py UID SCRIPT ARGS...

The interpreter is loaded before the rights are dropped, since it may live where that user
cannot read; so everything that is imported late is imported here first.
"""

import importlib
import os
import sys
from pathlib import Path

LATER = (
    "asyncio",
    "concurrent.futures.thread",
    "contextlib",
    "daemoneye_eventbus",
    "fcntl",
    "json",
    "socket",
    "struct",
)

uid, script = int(sys.argv[1]), sys.argv[2]
for name in LATER:
    importlib.import_module(name)
code = compile(Path(script).read_text(encoding="utf-8"), script, "exec")
sys.argv = sys.argv[2:]
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
exec(code, {"__name__": "__main__", "__file__": script})
