"""Fault 49. The mode lets everybody in; the kernel's word does not."""

import os

import pytest
from harness import as_user, times, until

from support import NOBODY

pytestmark = [
    pytest.mark.fault(
        49,
        "C",
        "test makes the socket 0666; uid 65534 connects",
        "refused by peer uid before one byte is read; counter with uid",
    ),
    pytest.mark.quick,
    pytest.mark.limit(60),
]
STRANGER = """
one = socket.socket(socket.AF_UNIX)
one.settimeout(5)
one.connect(sys.argv[1])
got = b""
with contextlib.suppress(OSError):
    hello = b'CONNECT {"protocol":1,"client":"stranger","dialect":"bincode"}'
    one.sendall(struct.pack("<I", len(hello)) + hello)
while True:
    try:
        more = one.recv(4096)
    except OSError:
        break
    if not more:
        break
    got += more
print(got[4:].decode())
"""

PATIENT = """
import errno, json, select, socket, struct, sys, time
one = socket.socket(socket.AF_UNIX)
one.connect(sys.argv[1])
hello = b'CONNECT {"protocol":1,"client":"stranger","dialect":"bincode"}'
one.sendall(struct.pack("<I", len(hello)) + hello)
print(json.dumps("sent"), flush=True)
# Until nothing can come any more: the descriptor at the other end is closed, whatever was said before.
hanging_up = select.poll()
hanging_up.register(one, 0)
end = time.monotonic() + 10
while not any(event & select.POLLERR for _, event in hanging_up.poll(100)) and time.monotonic() < end:
    time.sleep(0.01)
print(json.dumps(errno.errorcode.get(one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "none")), flush=True)
"""


def test_a_stranger_is_refused_by_the_kernels_word(bench, open_folder, seen, as_root):
    path = str(open_folder / "b.sock")
    b = bench(path=path)
    os.chmod(path, 0o666)
    for _ in range(times(20)):
        said = as_user(NOBODY, STRANGER, path).stdout
        assert said.startswith("ERR "), said
        assert '"not_permitted"' in said
        assert "INFO" not in said
    until(lambda: b.refused("not_permitted") == times(20), what="counter")
    assert b.statistics()["refused_uids"] == {str(NOBODY): times(20)}
    assert all(client["uid"] == 0 for client in b.clients())
    assert any(f"uid={NOBODY}" in line for line in b.log()), b.log()
    seen(f"{times(20)} refused as uid {NOBODY}, counted; {b.undisturbed()}")


def test_no_byte_of_a_stranger_is_read(bench, open_folder, seen, as_root):
    """Linux resets a connection whose end is closed with bytes in it that nobody has read."""
    path = str(open_folder / "b.sock")
    b = bench(path=path, canary=False)
    os.chmod(path, 0o666)
    (open_folder / "patient.py").write_text(PATIENT)
    # Stopped meanwhile, so that the bytes are there before the broker sees the connection.
    b.broker.freeze()
    strangers = [b.start(str(open_folder / "patient.py"), path, user=NOBODY) for _ in range(times(5))]
    assert [stranger.json() for stranger in strangers] == ["sent"] * len(strangers)
    b.broker.thaw()
    assert [stranger.json() for stranger in strangers] == ["ECONNRESET"] * len(strangers)
    assert b.refused("not_permitted") == len(strangers)
    seen(f"{len(strangers)} that had spoken already: reset unread")
