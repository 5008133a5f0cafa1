"""What a process of another user does, with the standard library only: other_user_actions.py ACTION PATH.

connect: connects and reads to the end.   listen: squats on the path and reports what it is sent.
lock: makes the lock file beside the path and holds it.   bind: leaves a stale socket there.
"""

import contextlib
import fcntl
import json
import os
import socket
import struct
import sys


def say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


action, path = sys.argv[1:3]
if action == "connect":
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(path)
    except OSError as error:
        say(refused=type(error).__name__)
        sys.exit()
    body = b'CONNECT {"protocol":1,"client":"stranger","dialect":"bincode"}'
    with contextlib.suppress(OSError):
        sock.sendall(struct.pack("<I", len(body)) + body)
    got = b""
    try:
        while more := sock.recv(65536):
            got += more
    except OSError:
        pass
    say(got=got.decode(errors="replace"))
elif action == "listen":
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    os.chmod(path, 0o666)
    listener.listen()
    say(listening=True)
    peer, _ = listener.accept()
    peer.settimeout(5)
    try:
        say(got=len(peer.recv(65536)))
    except OSError as error:
        say(got=type(error).__name__)
    sys.stdin.readline()
elif action == "lock":
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    fcntl.flock(fd, fcntl.LOCK_EX)
    say(locked=True)
    sys.stdin.readline()
elif action == "bind":
    socket.socket(socket.AF_UNIX).bind(path)
    say(bound=True)
