"""Fault 28. Descriptors sent along with the bytes."""

import array
import asyncio
import socket
import time

import pytest
from harness import scaled, times

from daemoneye_eventbus import Broker
from raw import framed
from support import NOBODY

pytestmark = [
    pytest.mark.fault(
        28,
        "M",
        "200 fds passed by SCM_RIGHTS with each byte, 1,000 times",
        "broker fd count flat (plain reads drop them)",
    ),
    pytest.mark.quick,
    pytest.mark.limit(60),
]
# Of Linux 6.16; Python has no name for it.
SO_PASSRIGHTS = 83


def test_passed_descriptors_do_not_stay(bench, seen):
    b = bench()
    peer = b.connected()
    with open("/dev/null") as null:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null.fileno()] * 200))
        before = b.reading().fds
        sent = most = 0
        stream = framed(b"PING") * (times(scaled(200, 1000)) // 8)
        for at in range(len(stream)):
            peer.sock.sendmsg([stream[at : at + 1]], [rights])
            sent += 1
            if at % 50 == 0:
                most = max(most, b.reading().fds)
        for _ in range(len(stream) // 8):
            assert peer.hear()[0] == "PONG"
    assert most <= before + 1
    assert b.reading().fds == before
    seen(f"{sent} x 200 passed, {before} descriptors before and after; {b.undisturbed()}")


# The last copy of a TCP socket whose close waits: what it has sent is not read, and it was told to linger until it is.
LINGERER = """
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
slow = socket.socket()
slow.connect(listener.getsockname())
unread, _ = listener.accept()
slow.setblocking(False)
with contextlib.suppress(BlockingIOError):
    while True:
        slow.send(bytes(65536))
slow.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 30))
peer = socket.socket(socket.AF_UNIX)
peer.connect(sys.argv[1])
hello = b'CONNECT {"protocol":1,"client":"lingerer","dialect":"bincode"}'
frame = struct.pack("<I", len(hello)) + hello
passed = 1
try:
    peer.sendmsg([frame], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [slow.fileno()]))])
except PermissionError:
    passed = 0
    peer.sendall(frame)
slow.close()
print(json.dumps(passed), flush=True)
sys.stdin.readline()
"""


def refusable():
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.getsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS)
        except OSError:
            pytest.skip("this kernel cannot refuse descriptors (Linux 6.16 can)")


async def test_whoever_connected_before_the_broker_took_over_passes_none_either(path, raw, seen):
    """A listener that is handed over may have connections that the kernel made while it still took descriptors."""
    refusable()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        early = raw(path)
        async with Broker.from_listener(listening):
            late = raw(path)
            for peer in (early, late):
                await asyncio.to_thread(peer.connect)
                right = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listening.fileno()]))]
                with pytest.raises(PermissionError):
                    peer.sock.sendmsg([framed(b"PING")], right)
    seen("refused at the sender")


def test_the_close_of_a_passed_descriptor_waits_for_nobody(bench, open_folder, seen, as_root):
    """Whoever drops the last copy of a descriptor waits for its close: that must not be the broker."""
    refusable()
    config = {"allowed_uids": [NOBODY], "socket_mode": 0o660, "socket_group": NOBODY}
    b = bench(config, path=str(open_folder / "b.sock"))
    imports = "import array, contextlib, json, socket, struct, sys\n"
    (open_folder / "lingerer.py").write_text(imports + LINGERER)
    # So that the broker has the last copy for certain.
    b.broker.freeze()
    lingerer = b.start(str(open_folder / "lingerer.py"), b.path, user=NOBODY)
    passed = lingerer.json()
    b.broker.thaw()
    began = time.monotonic()
    b.connected().close()
    took = time.monotonic() - began
    lingerer.close()
    seen(f"descriptors that were taken: {passed}; another client connects in {took * 1000:.1f} ms")
    assert took < 1, took
    b.undisturbed(latency=False)
