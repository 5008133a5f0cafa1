"""Runs another program under another uid: as_user.py UID SCRIPT ARGS...

The interpreter is loaded before the rights are dropped, since it may live where that user
cannot read; so everything that is imported late is imported here first.
"""

import asyncio  # noqa: F401
import concurrent.futures.thread  # noqa: F401
import fcntl  # noqa: F401
import json  # noqa: F401
import os
import socket  # noqa: F401
import struct  # noqa: F401
import sys

import daemoneye_eventbus  # noqa: F401

uid, script = int(sys.argv[1]), sys.argv[2]
with open(script) as source:
    code = compile(source.read(), script, "exec")
sys.argv = sys.argv[2:]
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
exec(code, {"__name__": "__main__", "__file__": script})
