"""Fault 22. Connections that end in the middle of anything."""

import signal
import socket
import struct
import textwrap

import pytest
from harness import scaled, times

from raw import framed, process_message

pytestmark = [
    pytest.mark.fault(
        22,
        "H",
        "SHUT_WR, SHUT_RD, kill -9 mid-frame and mid-delivery, 10,000 times",
        "fds, tasks, subscriptions back to base within 1 s of the last",
    ),
    pytest.mark.limit(240),
]
MANY = """
import os, signal, socket, struct, sys, json
path, count = sys.argv[1], int(sys.argv[2])
def frame(text):
    return struct.pack("<I", len(text)) + text
hello = frame(b'CONNECT {"protocol":1,"client":"k","dialect":"bincode"}')
sub = frame(b'SUB {"id":1,"topic_patterns":["events.#"]}')
held = []
for _ in range(count):
    one = socket.socket(socket.AF_UNIX)
    one.connect(path)
    one.sendall(hello + sub)
    one.recv(4096)
    one.sendall(b"\\x40\\0\\0\\0\\x10half a frame")
    held.append(one)
print("ready", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_thousands_of_sudden_ends_leave_nothing(bench, seen, folder):
    b = bench(canary=True)
    flood = b.flood(rate=500, topic="events.process.x")  # deliveries are under way all the time
    b.base = b.reading()
    total = times(scaled(600, 10_000))
    whole = framed(process_message(1))
    half = whole[: len(whole) // 2]
    for number in range(total):
        peer = b.connected()
        peer.subscribe(1, "events.#")
        match number % 4:
            case 0:
                peer.write(half)
            case 1:
                peer.sock.shutdown(socket.SHUT_WR)
            case 2:
                peer.sock.shutdown(socket.SHUT_RD)
            case 3:
                peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        b.raws.clear()
    (folder / "many.py").write_text(textwrap.dedent(MANY))
    for _ in range(scaled(3, 20)):
        killed = b.start(str(folder / "many.py"), b.path, "50")
        killed.line()
        killed.child.wait(10)
        assert killed.child.returncode == -signal.SIGKILL
    flood.kill()
    b.base = type(b.base)(**{**vars(b.base), "fds": b.base.fds - 1})
    now = b.back_to_base(within=1.0)
    assert b.statistics()["active_subscribers"] == 1
    seen(f"{total} ends, {now.fds} descriptors as before; {b.undisturbed()}")
