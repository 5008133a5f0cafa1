"""Fault 52. What another user may not, and whose word counts."""

import json

import pytest
from harness import as_user

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
