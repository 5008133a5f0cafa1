"""A broker in a user namespace of its own: namespace.py PATH UID, where UID is whom it maps this user to, or "".

Prints what start raises, as a line of JSON; null where the system gives no such namespaces.
"""

import asyncio
import ctypes
import json
import os
import sys

from daemoneye_eventbus import Broker, PathRefused

PR_SET_DUMPABLE = 4
CLONE_NEWUSER = 0x10000000


async def main(path):
    try:
        await Broker(path).start()
    except PathRefused as error:
        return str(error)
    return "started"


own = os.geteuid()
system = ctypes.CDLL(None)
# Whoever has changed its user does not own its own files in /proc before that.
system.prctl(PR_SET_DUMPABLE, 1)
if system.unshare(CLONE_NEWUSER):
    print("null", flush=True)
    sys.exit()
if sys.argv[2]:
    with open("/proc/self/uid_map", "w") as file:
        file.write(f"{sys.argv[2]} {own} 1")
print(json.dumps(asyncio.run(main(sys.argv[1]))), flush=True)
