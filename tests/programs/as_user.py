"""Runs another program under another uid: as_user.py UID SCRIPT ARGS...

The interpreter is loaded before the rights are dropped, since it may live where that user
cannot read; so everything that is imported late is imported here first.
"""

import os
import sys

uid, script = int(sys.argv[1]), sys.argv[2]
with open(script) as source:
    code = compile(source.read(), script, "exec")
sys.argv = sys.argv[2:]
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
exec(code, {"__name__": "__main__", "__file__": script})
