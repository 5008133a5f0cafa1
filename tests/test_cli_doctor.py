"""`doctor`: each thing that can be wrong with a path or a broker, found, named and left as it is."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

import raw as raw_by_hand
from commands import DEADLINE, findings_of, wait_for
from daemoneye_eventbus import EventBus, ProcessEvent, __version__
from daemoneye_eventbus._cli import alerts, examine
from daemoneye_eventbus._native import Address
from support import NOBODY, foreign

pytest_plugins = ["commands"]
pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="modes and sockets of Unix"),
    pytest.mark.limit(90),
]


def heads_of(shown):
    """Level and subject of each finding as it is printed; what to do stands below, indented."""
    return [line.split()[:2] for line in shown.splitlines() if not line.startswith(" ")]


def test_a_healthy_broker(cli, cli_broker, path):
    found = findings_of(cli, 0)
    assert {one["level"] for one in found.values()} == {"ok"}
    assert list(found) == [
        "path",
        "directory",
        "socket",
        "lock",
        "broker",
        "version",
        "traffic",
        "drops",
        "refused",
        "clients",
    ]
    assert "0600" in found["socket"]["text"]
    if sys.platform == "linux":
        assert f"pid {cli_broker.process.pid}" in found["lock"]["text"]
        assert f"pid {cli_broker.process.pid}" in found["broker"]["text"]
    assert __version__ in found["version"]["text"]
    text = cli("doctor", path).ends(0, "").stdout
    assert all(line.startswith("ok ") for line in text.splitlines())
    assert cli("doctor", path, "--path", path).ends(2).stderr.count("\n") == 1


def test_no_broker(cli, path, folder):
    found = findings_of(cli, 5)
    assert found["broker"]["text"] == "none runs here"
    assert f"daemoneye-eventbus broker {path}" in found["broker"]["advice"]
    found = findings_of(cli, 5, folder / "not" / "there" / "b.sock")
    assert found["directory"]["level"] == "note"
    assert list(folder.iterdir()) == [], "nothing is made"


def test_a_socket_that_was_left_behind(cli, path):
    first = cli("broker", path).until("listening", "stdout")
    first.signal(signal.SIGKILL)
    first.process.wait(DEADLINE)
    found = findings_of(cli, 5)
    assert "left behind" in found["broker"]["text"]
    assert found["lock"]["level"] == "note"
    assert os.path.exists(path), "nothing is removed"
    cli("broker", path).until("listening", "stdout")
    findings_of(cli, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="who holds a lock is seen in /proc")
def test_a_broker_whose_socket_was_removed(cli, cli_broker, path):
    """Starting another one would not help: the first has the lock."""
    os.unlink(path)
    found = findings_of(cli, 5)
    assert list(found) == ["path", "directory", "socket", "lock"]
    assert f"held by pid {cli_broker.process.pid}, and its socket file is gone" in found["lock"]["text"]
    assert f"stop pid {cli_broker.process.pid}" in found["lock"]["advice"]


@pytest.mark.skipif(sys.platform != "linux", reason="who holds a lock is seen in /proc")
@pytest.mark.parametrize("gone", [False, True])
def test_whoever_holds_a_file_of_the_same_inode_on_another_disk_is_not_accused(cli, path, tmp_path, monkeypatch, gone):
    """Nor where the kernel and ``stat`` name devices differently: then it is not known whose lock it is."""
    child = cli("broker", path).until("listening", "stdout")
    lock = os.stat(f"{path}.lock")
    ours = f"{os.major(lock.st_dev):02x}:{os.minor(lock.st_dev):02x}:{lock.st_ino}"
    stranger = f"1: FLOCK  ADVISORY  WRITE 1 ffe:fffff:{lock.st_ino} 0 EOF\n"
    seen = tmp_path / "locks"
    monkeypatch.setattr(examine, "_LOCKS", seen)
    if gone:
        os.unlink(path)

    def lock_with(text):
        seen.write_text(text)
        findings = examine.place(Address(path=str(path)), (os.geteuid(),))
        return next(one for one in findings if one.subject == "lock")

    both = lock_with(f"{stranger}2: FLOCK  ADVISORY  WRITE {child.process.pid} {ours} 0 EOF\n")
    assert f"held by pid {child.process.pid}" in both.text
    assert both.level == ("bad" if gone else "ok")
    other = lock_with(stranger)
    assert "may be held by pid 1, or" in other.text
    assert (other.level, other.advice, other.code) == ("note", None, 0)
    assert "nobody is seen" in lock_with(stranger.replace(f":{lock.st_ino} ", f":1{lock.st_ino} ")).text
    has_it_open = lock_with(stranger.replace("WRITE 1 ", f"WRITE {child.process.pid} "))
    assert (has_it_open.text, has_it_open.level) == (both.text, both.level)


def test_paths_that_cannot_be_used(cli, folder):
    (folder / "file").write_text("x")
    assert "no socket but a file" in findings_of(cli, 4, folder / "file")["socket"]["text"]
    assert "107" in findings_of(cli, 4, "/tmp/" + "x" * 200)["path"]["text"]
    wide = folder / "wide"
    wide.mkdir()
    wide.chmod(0o777)
    found = findings_of(cli, 4, wide / "b.sock")
    assert "0777" in found["directory"]["text"]
    assert "broker" not in found
    (folder / "link").symlink_to(folder)
    if os.geteuid() == 0:
        # Root's own links are followed.
        os.chown(folder / "link", NOBODY, NOBODY, follow_symlinks=False)
    assert "symbolic link" in findings_of(cli, 4, folder / "link" / "b.sock")["directory"]["text"]


def test_a_socket_that_everybody_can_open(cli, cli_broker, path):
    """Only a broker that made the socket makes it another mode."""
    Path(path).chmod(0o666)
    assert "it makes it 0600" in findings_of(cli, 7)["socket"]["advice"]
    Path(f"{path}.lock").unlink()
    advice = findings_of(cli, 7)["socket"]["advice"]
    assert "SocketMode=" in advice
    assert "Start the broker again" not in advice


def test_a_lock_that_no_broker_would_take(cli, path):
    lock = Path(f"{path}.lock")
    lock.write_text("1\n")
    lock.chmod(0o644)
    assert "0644" in findings_of(cli, 4)["lock"]["text"]
    lock.chmod(0o600)
    os.link(lock, lock.with_suffix(".other"))
    assert "hard link" in findings_of(cli, 4)["lock"]["text"]
    assert "refused" in cli("broker", path).ends(4).stderr


def test_looking_takes_no_lock(cli, path):
    """A broker that starts while a doctor looks must not take it for another broker."""
    first = cli("broker", path).until("listening", "stdout")
    first.signal(signal.SIGTERM).ends(0)
    doctors = [cli("doctor", "--connect-timeout", "0.2") for _ in range(3)]
    for _ in range(5):
        cli("broker", path).until("listening", "stdout").signal(signal.SIGTERM).ends(0, "")
    for doctor in doctors:
        doctor.process.wait(DEADLINE)


def test_a_broker_that_hangs(cli, cli_broker):
    cli_broker.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        found = findings_of(cli, 5, "--connect-timeout", "0.4")
        assert time.monotonic() - began < 10
    finally:
        cli_broker.signal(signal.SIGCONT)
    assert "does not answer" in found["broker"]["text"]
    wait_for(lambda: cli("doctor").process.wait(DEADLINE) == 0)


def test_somebody_else_listens(cli, path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        os.chmod(path, 0o600)
        listener.listen()
        found = findings_of(cli, 5, "--connect-timeout", "0.3")
    assert 'peer="original"' in found["broker"]["advice"]
    assert found["lock"]["level"] == "note"


ID = "00000000-0000-0000-0000-000000000001"
FIVE = {
    "uptime_seconds": 1,
    "messages_published": 2,
    "messages_delivered": 3,
    "active_subscribers": 4,
    "active_topics": 5,
}
DETAIL = {"dropped": {}, "refused": {}, "connections": 1, "queued_messages": 0, "queued_bytes": 0}
CLIENT = {"id": ID, "name": "", "pid": 1, "queued_messages": 0, "queued_bytes": 0}


@contextlib.contextmanager
def answering(path, answer, connections=1):
    """Somebody at `path` who answers each verb with what `answer` gives for it, on so many connections."""

    def serve():
        for _ in range(connections):
            with contextlib.closing(raw_by_hand.Raw.of(listener.accept()[0])) as peer:
                while (body := peer.receive()) is not None:
                    verb, said = raw_by_hand.parse_text(body)
                    told = answer(verb, said)
                    # Whoever asked may have given up.
                    with contextlib.suppress(BrokenPipeError):
                        peer.say("INFO" if verb == "CONNECT" else "OK", **told)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        os.chmod(path, 0o600)
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(DEADLINE)


def telling(path, numbers, clients):
    """Somebody whose totals are `numbers`, and whose list of clients is what `clients()` gives each time."""

    def answer(verb, said):
        if verb == "CONNECT":
            return {"protocol": 1}
        return clients() if said.get("clients") else numbers

    return answering(path, answer)


@pytest.mark.parametrize(
    ("numbers", "clients"),
    [
        ({}, {}),
        ({"uptime_seconds": "long"}, {}),
        (FIVE | {"detail": 7}, {}),
        (FIVE | {"detail": DETAIL}, {}),
        (FIVE | {"detail": DETAIL | {"dropped": {"overflow": "many"}}}, {}),
        (FIVE | {"detail": DETAIL}, {"clients": [7]}),
        # The same page again and again.
        (FIVE | {"detail": DETAIL}, {"clients": [CLIENT], "more": True}),
        # Another page again and again.
        (FIVE | {"detail": DETAIL}, None),
    ],
)
def test_a_listener_that_answers_nonsense(cli, path, numbers, clients):
    pages = itertools.count(1)

    def endless():
        start = 1000 * next(pages)
        return {"clients": [CLIENT | {"id": f"{start + at:036}"} for at in range(400)], "more": True}

    with telling(path, numbers, endless if clients is None else lambda: clients):
        found = findings_of(cli, 5, "--connect-timeout", "2")
    assert "answers as no broker does" in found["broker"]["text"]


@pytest.mark.parametrize(
    "words",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        # Of a length that a frame may have.
        b"\x05\0\0\0hello",
        b"\x04\0\0\0OK {",
        b"\0\0\0\0",
    ],
)
def test_another_program(cli, path, words):
    """All other findings were lost with it, and 1 was the code; some were said not to answer."""
    with foreign(Path(path), words):
        found = findings_of(cli, 5)
    assert found.keys() >= {"path", "directory", "socket", "lock"}
    assert "answers as no broker does" in found["broker"]["text"]


def test_a_listener_that_lists_clients_one_by_one(cli, path):
    """Each answer comes in time; all pages together once had no limit."""
    ids = itertools.count(1)

    def one():
        time.sleep(0.2)
        return {"clients": [CLIENT | {"id": f"{next(ids):036}"}], "more": True}

    with telling(path, FIVE | {"detail": DETAIL}, one):
        found = findings_of(cli, 5, "--connect-timeout", "0.5")
    assert "not in time" in found["broker"]["text"]


def test_a_broker_at_max_connections(cli, path, raw):
    cli("broker", path, "--max-connections", "1").until("listening", "stdout")
    raw(str(path)).connect()
    assert "max_connections" in findings_of(cli, 5)["broker"]["text"]


def test_tokens(cli, path, folder):
    for name in ("right", "wrong"):
        (folder / name).write_bytes(name[:1].encode() * 32)
        (folder / name).chmod(0o600)
    cli("broker", path, "--token-file", folder / "right").until("listening", "stdout")
    assert "--token-file" in findings_of(cli, 4)["broker"]["text"]
    findings_of(cli, 4, "--token-file", folder / "wrong")
    findings_of(cli, 0, "--token-file", folder / "right")


async def test_drops_and_a_reader_that_does_not_read(cli, path, raw):
    cli("broker", path, "--queue-messages", "2").until("listening", "stdout")
    reader = raw(str(path))
    reader.connect("slow")
    reader.subscribe(1, "events.#")
    async with EventBus.connect(path) as bus:
        for _ in range(8):
            await bus.publish(ProcessEvent(1, "x" * 400_000))
        await bus.flush()
        shown = cli("doctor").ends(7, "").stdout
        raw(str(path)).write(b"\0\0\0\0")
        found = findings_of(cli, 7)
    page = (Path(__file__).parent.parent / "docs/cli.md").read_text(encoding="utf-8")
    sample = page.partition("$ daemoneye-eventbus doctor")[2].partition("\n")[2].partition("$ echo")[0]
    assert heads_of(shown) == heads_of(sample)
    assert found["drops"]["level"] == found["clients"]["level"] == "warn"
    assert "lost: overflow" in found["drops"]["text"]
    assert 'overflow="block"' in found["drops"]["advice"]
    assert found["clients"]["text"].startswith(f"slow (pid {os.getpid()}) lets 2 messages wait, of 2")
    wait_for(lambda: "protocol 1" in findings_of(cli, 7)["refused"]["text"])


async def test_what_a_reader_loses_in_its_own_queue_is_not_seen(cli, cli_broker, path):
    """And it is not said that nothing was lost."""
    async with EventBus.connect(path) as bus, bus.subscribe(ProcessEvent, queue_messages=10) as events:
        await bus.publish_many(ProcessEvent(pid, "x") for pid in range(1000))
        await bus.flush()
        assert events.dropped == 990
        assert findings_of(cli, 0)["drops"]["text"] == "none at the broker"


def refusing(path, *looks):
    """Somebody who says at each look that so much was refused."""
    told = iter(looks)

    def answer(verb, said):
        if verb == "CONNECT":
            return {"protocol": 1}
        if said.get("clients"):
            return {"clients": [CLIENT | {"dropped": {}}]}
        return FIVE | {"detail": DETAIL | {"refused": next(told)}}

    return answering(path, answer)


LONG_AGO = dict.fromkeys(alerts.ADVICE, 17) | {"decode": 2}


def refusals_of(cli, code):
    """Level and text of each finding about refusals."""
    shown = [json.loads(line) for line in cli("doctor", "--json").ends(code, "").stdout.splitlines()]
    refused = [one for one in shown if one["subject"] == "refused"]
    assert all(one["advice"] and one["code"] == (7 if one["level"] == "warn" else 0) for one in refused)
    return [(one["level"], one["text"]) for one in refused]


def test_refusals_worth_an_alert_that_go_on(cli, path):
    with refusing(path, LONG_AGO, {reason: count + 3 for reason, count in LONG_AGO.items()}):
        *alerting, other = refusals_of(cli, 7)
    assert alerting == [("warn", f"{reason} 20, 3 of them just now") for reason in alerts.ADVICE]
    assert other == ("note", "decode 5")


def test_refusals_of_long_ago_are_noted(cli, path):
    """Counters only grow: a job that looks now and then would fail for ever. A defect is one for as long as it runs."""
    with refusing(path, LONG_AGO, LONG_AGO):
        alerting = refusals_of(cli, 7)
    assert ("warn", "panic 17") in alerting
    assert {level for level, text in alerting if text != "panic 17"} == {"note"}


def test_refusals_not_worth_an_alert_are_asked_for_once(cli, path):
    with refusing(path, {"decode": 17}):
        assert refusals_of(cli, 0) == [("note", "decode 17")]


def test_connections_that_were_used_up(cli, path, raw):
    cli("broker", path, "--max-connections", "2").until("listening", "stdout")
    first, second = raw(str(path)), raw(str(path))
    for one in (first, second):
        one.connect()
    assert findings_of(cli, 5)["broker"]["level"] == "bad"
    first.close()
    wait_for(lambda: cli("doctor").process.wait(DEADLINE) == 0)
    found = findings_of(cli, 0)["refused"]
    assert (found["level"], found["text"][:5]) == ("note", "busy ")
    assert "--max-connections" in found["advice"]


def test_operations_names_the_same_refusals():
    page = (Path(__file__).parent.parent / "docs/operations.md").read_text(encoding="utf-8")
    rows = page.split("Worth an alert", 1)[1].split("| `queued_bytes`")[0]
    cells = re.findall(r"^\| `refused`: ([^|]*) \|", rows, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(cells))) == sorted(alerts.ADVICE)


async def test_a_reader_that_asked_for_a_small_queue(cli, cli_broker, path, raw):
    """It is full before the broker's own limit is near, which alone was compared."""
    reader = raw(str(path))
    reader.connect("small", queue_messages=2)
    reader.subscribe(1, "events.#")
    async with EventBus.connect(path) as bus:
        for _ in range(8):
            await bus.publish(ProcessEvent(1, "x" * 400_000))
        await bus.flush()
        found = findings_of(cli, 7)
    assert found["clients"]["text"].startswith(f"small (pid {os.getpid()}) lets 2 messages wait, and has lost ")
    assert "broker_queue_messages" in found["clients"]["advice"]


@pytest.mark.parametrize(
    ("auth", "said"),
    [
        ("token", {}),
        ("token", {"proof": "0" * 64}),
        ("token", {"proof": 7}),
        ("token", {"echo": True}),
        ("none", {}),
    ],
    ids=["no proof", "wrong proof", "no text", "our own proof", "not asked for"],
)
def test_somebody_who_does_not_know_the_token_is_not_believed(cli, path, folder, auth, said):
    token = folder / "token"
    token.write_bytes(b"s" * 32)
    token.chmod(0o600)
    verbs = []

    def answer(verb, asked):
        verbs.append(verb)
        if verb == "CONNECT":
            return raw_by_hand.info() | {"auth": auth, "nonce": "5" * 64}
        return {"proof": asked.get("proof")} if "echo" in said else said

    with answering(path, answer, connections=2):
        found = findings_of(cli, 4, "--token-file", token)["broker"]
        tapped = cli("decode", "--live", "--token-file", token).ends(4).stderr
    assert found["level"] == "bad"
    assert all("prove" in text for text in (found["text"], tapped))
    assert set(verbs) <= {"CONNECT", "AUTH"}, "nothing is asked of it"


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_a_socket_of_another_type(cli, path, kind):
    with socket.socket(socket.AF_UNIX, kind) as other:
        other.bind(str(path))
        os.chmod(path, 0o600)
        if kind == socket.SOCK_SEQPACKET:
            other.listen()
        assert "another type" in findings_of(cli, 4)["broker"]["text"]
