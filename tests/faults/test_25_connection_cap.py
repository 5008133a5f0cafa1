"""Fault 25. All places taken."""

import contextlib
import time

import pytest
from harness import as_user, scaled, times

from support import NOBODY

pytestmark = [
    pytest.mark.fault(
        25,
        "H",
        "connection cap + 50; one uid tries to take all; then one closes",
        'extra ones told "busy" and closed within 100 ms; per-uid cap; freed slot usable at once',
    ),
    pytest.mark.quick,
    pytest.mark.limit(60),
]
GREEDY = """
path = sys.argv[1]
held, busy = [], 0
def frame(text):
    return struct.pack("<I", len(text)) + text
for _ in range(60):
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(5)
    one.connect(path)
    got = b""
    try:
        one.sendall(frame(b'CONNECT {"protocol":1,"client":"g","dialect":"bincode"}'))
        got = one.recv(4096)
    except OSError:
        got = one.recv(4096)
    if b"busy" in got:
        busy += 1
    else:
        assert b"INFO" in got, got
        held.append(one)
print(len(held), busy)
"""


def test_beyond_the_cap_everybody_is_told(bench, seen):
    cap, extras = max(4, times(64)), times(50)
    b = bench({"max_connections": cap})
    for _ in range(cap - 2):
        b.connected()
    worst = 0.0
    for _ in range(extras):
        extra = b.dial()
        begin = time.monotonic()
        with contextlib.suppress(OSError):
            extra.say("CONNECT", protocol=1, client="x", dialect="bincode")
        said = extra.closed()
        worst = max(worst, time.monotonic() - begin)
        assert said["code"] == "busy", said
    assert worst < scaled(2.0, 0.1), worst
    assert b.refused("busy") == extras
    b.raws[0].close()
    begin = time.monotonic()
    while True:
        try:
            peer = b.dial()
            peer.connect()
            break
        except (AssertionError, OSError):
            assert time.monotonic() - begin < scaled(5.0, 0.5), "the freed place was not usable"
    freed = time.monotonic() - begin
    seen(f"busy within {worst * 1000:.0f} ms, place free after {freed * 1000:.0f} ms; {b.undisturbed()}")


def test_one_uid_cannot_take_all(bench, open_folder, seen, as_root):
    config = {"max_connections_per_uid": 20, "allowed_uids": [NOBODY], "socket_mode": 0o660, "socket_group": NOBODY}
    b = bench(config, path=str(open_folder / "b.sock"))
    done = as_user(NOBODY, GREEDY, b.path)
    assert done.stdout.split() == ["20", "40"], done
    assert b.refused("busy_uid") == 40
    b.connected()
    seen(f"uid {NOBODY}: 20 of 60; {b.undisturbed()}")
