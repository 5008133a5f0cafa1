"""Fault 53. Somebody else listens where the broker should be."""

import asyncio
import json
import time

import pytest
from harness import scaled, times

from daemoneye_eventbus import AuthenticationFailed, ClientConfig, EventBus, EventBusError, PermissionRefused
from support import NOBODY, Program

pytestmark = [
    pytest.mark.fault(
        53,
        "C",
        "another uid already listens at the expected path; a privileged client connects",
        "client checks the server's uid and proof, refuses before sending token or event",
    ),
    pytest.mark.quick,
    pytest.mark.limit(60),
]
TOKEN = b"correct horse battery staple 32b"
LIAR = """
import json, os, socket, struct, sys
path = sys.argv[1]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
print("listening", flush=True)
got = b""
peer, _ = listener.accept()
peer.settimeout(3)
def read():
    global got
    data = peer.recv(65536)
    got += data
    return data
def say(text):
    peer.sendall(struct.pack("<I", len(text)) + text)
try:
    read()
    say(b"INFO " + sys.argv[2].encode())
    read()
    say(b'OK {"proof":"' + b"00" * 32 + b'"}')
    read()
except OSError:
    pass
print(got.hex(), flush=True)
"""


def test_another_uid(open_folder, seen, as_root):
    open_folder.chmod(0o1777)
    path = str(open_folder / "b.sock")
    for _ in range(times(scaled(2, 10))):
        squatter = Program("other_user_actions.py", "listen", path, user=NOBODY)
        squatter.json()
        begin = time.monotonic()
        with pytest.raises(PermissionRefused) as caught:
            asyncio.run(connect(path))
        took = time.monotonic() - begin
        assert caught.value.uid == NOBODY
        assert squatter.json() == {"got": 0}
        squatter.close()
        (open_folder / "b.sock").unlink()
    seen(f"refused as uid {NOBODY} in {took * 1000:.0f} ms, 0 bytes sent")


async def connect(path: str) -> None:
    async with EventBus.connect(path, config=ClientConfig(pool=False, token=TOKEN, connect_timeout=2)) as bus:
        await bus.flush(timeout=2)


@pytest.mark.parametrize("claims", ["token", "none"])
def test_the_right_uid_without_the_secret(bench, path, folder, seen, claims):
    b = bench({"token": TOKEN.decode()}, path=str(folder / "honest.sock"), canary=False)
    honest = b.dial()
    honest.say("CONNECT", protocol=1, client="x", dialect="bincode", nonce="00" * 32)
    info = {**honest.expect("INFO"), "nonce": "11" * 32, "auth": claims}
    (folder / "liar.py").write_text(LIAR)
    liar = b.start(str(folder / "liar.py"), path, json.dumps(info))
    assert liar.line() == "listening"
    with pytest.raises(EventBusError) as caught:
        asyncio.run(connect(path))
    got = bytes.fromhex(liar.line())
    liar.finish()
    assert TOKEN not in got
    assert b"PING" not in got, "it went on talking"
    assert isinstance(caught.value, AuthenticationFailed), caught.value
    seen(f'a liar of our uid that says auth "{claims}": AuthenticationFailed')
