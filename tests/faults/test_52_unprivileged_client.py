"""Fault 52. What another user may not, and whose word counts."""

import json
from pathlib import Path

import pytest
from harness import as_user, until

import raw
from raw import CONTROL, Message, process_event
from support import NOBODY

pytestmark = [
    pytest.mark.fault(
        52,
        "C",
        "unprivileged client subscribes #, publishes control.*, writes another sender's id in the body",
        "refused; broker-stamped uid/pid/client id replaces claims",
    ),
    pytest.mark.quick,
    pytest.mark.limit(60),
]
CLIENT = """
from raw import CONTROL, Message, Raw, process_event
def answer():
    while True:
        body = peer.receive()
        if body[0] != 0x10:
            verb, _, rest = body.decode().partition(" ")
            return verb, json.loads(rest)
peer = Raw(sys.argv[1])
peer.connect(client="root's own agent")
said = {"pid": os.getpid()}
for number, pattern in enumerate(("#", "control.#", "control.collector.*", "+.collector.x", "events.#"), 1):
    peer.sub(number, pattern)
    verb, fields = answer()
    said[pattern] = fields.get("code", verb)
body = Message("control.collector.stop", b"x", type=CONTROL).encode()
peer.send(body)
said["publish control"] = answer()[1]["code"]
peer.send(Message("events.process.new", process_event(7), correlation="uid=0 pid=1 client=agent").encode())
peer.say("PING")
while peer.receive() != b"PONG":
    pass
print(json.dumps(said))
"""


def test_rights_by_uid_and_senders_by_the_kernel(bench, open_folder, seen, as_root):
    config = {"allowed_uids": [NOBODY], "socket_mode": 0o660, "socket_group": NOBODY}
    b = bench(config, path=str(open_folder / "b.sock"), options={"senders": True})
    done = as_user(NOBODY, CLIENT, b.path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    pid = said.pop("pid")
    refused = {name: code for name, code in said.items() if code == "rights"}
    assert set(refused) == {"control.#", "control.collector.*", "publish control"} | (
        set(said) & {"#", "+.collector.x"}
    )
    assert said["events.#"] == "OK"
    mine = [item for item in b.broker.ask(do="senders")["senders"] if "canary" not in item[0]]
    ((topic, claimed, uid, sender_pid, client_id),) = mine
    assert (topic, uid, sender_pid) == ("events.process.new", NOBODY, pid)
    assert claimed == "uid=0 pid=1 client=agent"
    assert len(client_id) == 36
    assert b.refused("rights") >= 3
    seen(
        f"{len(refused)} refused as rights; sender is uid {uid}, pid {sender_pid}, whatever was claimed; {b.undisturbed()}"
    )


ORIGINAL = """
import time
peer = raw.Raw(sys.argv[1])
peer.send(raw.Message("control.collector.stop", b"x", type=raw.CONTROL).encode())
peer.send(raw.Message("events.process.new", raw.process_event(8), correlation="of the original").encode())
peer.send(b"PING")
print("ready", flush=True)
heard = []
peer.sock.settimeout(float(sys.argv[2]))
with contextlib.suppress(OSError):
    while (body := peer.receive()) is not None:
        heard.append("PONG" if body == b"PONG" else raw.decode_message(body).topic)
    heard.append("closed")
print(json.dumps(sorted(set(heard))), flush=True)
"""


def test_rights_hold_for_peers_of_the_original_too(bench, open_folder, seen, as_root):
    """Who says nothing of who it is, and asks for nothing, is the uid that it is all the same."""
    config = {
        "allowed_uids": [NOBODY],
        "socket_mode": 0o660,
        "socket_group": NOBODY,
        "original_patterns": ["events.#", "control.#"],
        "original_dialect": "bincode",
    }
    b = bench(config, path=str(open_folder / "b.sock"), options={"senders": True}, canary=False)
    (open_folder / "original.py").write_text(f"""
import contextlib, json, os, sys
sys.path.insert(0, {str(Path(raw.__file__).parent)!r})
import raw
os.setgroups([])
os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
{ORIGINAL}""")
    peer = b.start(str(open_folder / "original.py"), b.path, "2")
    assert peer.line() == "ready"
    until(lambda: b.refused("rights") == 1, what="refused")
    (stranger,) = [client for client in b.clients() if client["peer"] == "original"]
    assert stranger["uid"] == NOBODY
    mine = b.connected()

    def publish_both():
        for _ in range(20):
            mine.send(Message("control.collector.stop", b"secret", type=CONTROL).encode())
            mine.send(Message("events.process.new", process_event(1)).encode())
        assert mine.barrier() == []

    # What it is sent unless somebody says otherwise, and what somebody says.
    publish_both()
    said = b.broker.ask(do="subscribe", id=stranger["id"], patterns=["control.#"])
    assert said == {"raised": "PermissionRefused", "uid": NOBODY}
    assert b.broker.ask(do="subscribe", id=stranger["id"], patterns=["events.#"]) == {"done": None}
    publish_both()
    assert peer.json() == ["PONG", "events.process.new"]
    topics = {item[0] for item in b.broker.ask(do="senders")["senders"] if item[2] == NOBODY}
    assert topics == {"events.process.new"}
    seen("a peer of the original: control refused both ways, also where it is told to be sent")
