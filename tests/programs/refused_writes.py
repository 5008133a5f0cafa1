"""A broker to which the system refuses writing to one connection: refused_writes.py PATH ERRNO.

Asked by lines of JSON on stdin. From "refuse" on whatever is written to the only connection fails with ERRNO.
"""

import asyncio
import ctypes
import json
import os
import socket
import stat
import struct
import sys

from daemoneye_eventbus import Broker

PATH, ERRNO = sys.argv[1], int(sys.argv[2])
SENDMSG, SECCOMP = 46, 317  # Of x86_64.
SET_NO_NEW_PRIVILEGES, SET_FILTER, OF_ALL_THREADS = 38, 1, 1
LOAD, IS_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER, FIRST_ARGUMENT = 0, 16
REFUSE, ALLOW = 0x00050000, 0x7FFF0000


def say(**fields):
    print(json.dumps(fields), flush=True)


def connection():
    """The descriptor of the connection to another process."""

    def is_one(number):
        try:
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                return False
            with socket.socket(fileno=os.dup(number)) as found:
                pid, _, _ = struct.unpack("iII", found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        except OSError:
            return False
        return pid not in {0, os.getpid()}

    (only,) = filter(is_one, map(int, os.listdir("/proc/self/fd")))
    return only


def refuse(number):
    libc = ctypes.CDLL(None, use_errno=True)
    rows = [
        (LOAD, 0, 0, NUMBER), (IS_EQUAL, 0, 3, SENDMSG),
        (LOAD, 0, 0, FIRST_ARGUMENT), (IS_EQUAL, 0, 1, number),
        (RETURN, 0, 0, REFUSE | ERRNO), (RETURN, 0, 0, ALLOW),
    ]  # fmt: skip
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows))
    filter_ = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rows), ctypes.addressof(code)))
    if libc.prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.syscall(SECCOMP, SET_FILTER, OF_ALL_THREADS, filter_):
        raise OSError(ctypes.get_errno(), "seccomp")


async def main():
    async with Broker(PATH) as broker:
        say(ready=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            match json.loads(line)["do"]:
                case "refuse":
                    refuse(connection())
                    say(refused=True)
                case "statistics":
                    now = broker.statistics()
                    say(dropped=dict(now.dropped), refused=dict(now.refused))


asyncio.run(main())
