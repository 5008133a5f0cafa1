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
