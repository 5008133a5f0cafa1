"""`decode`: frames of every dialect, from arguments, files and a live socket; errors by offset."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

import raw as wire_by_hand
from commands import DEADLINE, events, publish_lines, wait_for
from daemoneye_eventbus import CollectionEvent, ProcessEvent, wire
from daemoneye_eventbus._cli import frames
from support import foreign

pytest_plugins = ["commands"]
pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals, pipes and terminals of Unix"),
    pytest.mark.limit(90),
]
VECTORS = Path(__file__).parent / "vectors"


def told(child):
    return [json.loads(line) for line in child.stdout.splitlines()]


def captured(dialect):
    """Frames that the original sent, as they were."""
    data = json.loads((VECTORS / f"captures-{dialect}.json").read_text())
    return [one for scenario in data["scenarios"] for one in scenario["records"] if one["kind"] == "frame"]


@pytest.mark.parametrize("dialect", ["bincode", "postcard"])
def test_what_the_original_sent(cli, folder, dialect):
    records = captured(dialect)
    file = folder / "capture"
    file.write_bytes(b"".join(bytes.fromhex(one["hex"]) for one in records))
    child = cli("decode", "--file", file)
    assert child.process.wait(DEADLINE) == 1
    found = told(child)
    assert [one["frame"] for one in found] == list(range(1, len(records) + 1))
    offset = messages = 0
    for one, record in zip(found, records, strict=True):
        assert one["offset"] == offset
        offset += 4 + one["size"]
        message = record.get("message")
        if not message:
            assert one["kind"] in {"text", "authentication"}
            continue
        messages += 1
        assert (one["kind"], one["dialect"]) == ("message", dialect)
        for name in ("id", "topic", "sequence"):
            assert one[name] == message[name]
        assert one["correlation"]["correlation_id"] == message["correlation_metadata"]["correlation_id"]
        if event := record.get("event"):
            ((kind, fields),) = event.items()
            assert one["type"] == {"Process": "process", "Network": "network", "Filesystem": "filesystem"}.get(
                kind, one["type"]
            )
            assert set(fields) - {"start_time", "payload"} <= set(one["fields"])
    assert messages > 20
    # The one frame whose payload the original never meant to be an event.
    (bad,) = [one for one in found if "error" in one]
    assert bad["error"].startswith("payload: ")
    assert bad["offset"] < bad["error_offset"] <= bad["offset"] + 4 + bad["size"]
    assert base64.b64decode(bad["payload_base64"])
    assert child.stderr == f"daemoneye-eventbus decode: frame {bad['frame']} at byte {bad['offset']}: {bad['error']}\n"


def test_hexadecimal_as_people_paste_it(cli):
    ping = wire_by_hand.framed(b"PING").hex()
    spaced = ":".join(ping[at : at + 2] for at in range(0, len(ping), 2))
    found = told(cli("decode", ping, f"0x{ping}{ping}", spaced, f"{ping} \n").ends(0, ""))
    assert [one["verb"] for one in found] == ["PING"] * 5
    assert [one["input"] for one in found] == [1, 2, 2, 3, 4]
    assert [one["offset"] for one in found] == [0, 0, 8, 0, 0]
    assert "not hexadecimal" in cli("decode", "04zz").ends(2).stderr


def test_each_dialect_is_found_out(cli):
    event = ProcessEvent(1234, "sh", metadata={"a": "b"})
    body = wire_by_hand.process_message(1234)
    message = wire.decode(wire.Message, body)
    for dialect in wire.DIALECTS:
        said = message.__replace__(payload=wire.encode(event, dialect, type=CollectionEvent))
        if dialect == "bincode-v0":
            said = said.__replace__(correlation_metadata=type(said.correlation_metadata)("c", created_at=None))
        data = wire.encode(said, dialect)
        (one,) = told(cli("decode", wire_by_hand.framed(data).hex()).ends(0, ""))
        assert (one["dialect"], one["type"], one["fields"]["pid"]) == (dialect, "process", 1234), dialect
        assert one["fields"]["metadata"] == {"a": "b"}
        assert told(cli("decode", "--body", "--dialect", dialect, data.hex()).ends(0, "")) == [one | {"offset": 0}]
    other = told(cli("decode", "--dialect", "postcard", wire_by_hand.framed(body).hex()).ends(1))
    assert other[0]["dialect"] == "postcard"
    assert "error_offset" in other[0]


def test_a_payload_without_envelope(cli):
    (one,) = told(cli("decode", wire_by_hand.framed(wire_by_hand.process_event(7)).hex()).ends(0, ""))
    assert (one["kind"], one["type"], one["fields"]["pid"]) == ("payload", "process", 7)


@pytest.mark.parametrize(
    ("body", "kind", "words", "at"),
    [
        (b"", "empty", "empty frame", 4),
        (b"\xff\xfe", "unknown", "unknown frame kind 0xff", 4),
        (b"\x10abc", "message", "no message in any dialect", None),
        (b'SUB {"id":}', "text", "Expecting value", 4 + 10),
        (b"SUB \xff", "text", "not UTF-8", 4 + 4),
        (b"SUB [1]", "text", "an object must follow", 4 + 4),
        (b"SUB " + b"[" * 20_000 + b"]" * 20_000, "text", "nested too deep", 4 + 4),
        (b'SUB {"id":' + b"[" * 32 + b"]" * 32 + b"}", "text", "nested too deep", 4 + 4),
        (b'SUB {"id":1e999}', "text", "1e999 is no number of JSON", 4 + 4),
        (b'SUB {"id":NaN}', "text", "NaN is no number of JSON", 4 + 4),
    ],
)
def test_a_bad_frame_is_located_and_the_next_is_read(cli, body, kind, words, at):
    good = wire_by_hand.framed(b"PONG")
    child = cli("decode", (good + wire_by_hand.framed(body) + good).hex()).ends(1)
    first, bad, last = told(child)
    assert (first["verb"], last["verb"]) == ("PONG", "PONG")
    assert (bad["kind"], bad["frame"], bad["offset"]) == (kind, 2, 8)
    assert words in bad["error"]
    if at is not None:
        assert bad["error_offset"] == 8 + at
    assert last["offset"] == 8 + 4 + len(body)
    assert child.stderr.startswith("daemoneye-eventbus decode: frame 2 at byte 8: ")
    assert child.stderr.count("\n") == 1


@pytest.mark.parametrize(("levels", "is_read"), [(31, True), (32, False)])
def test_as_deep_as_the_broker_reads(cli, cli_broker, path, raw, levels, is_read):
    """In a field that nobody knows: it is ignored, however deep it is as long as it is read."""
    body = b'PING {"later":' + b"[" * levels + b"]" * levels + b"}"
    (one,) = told(cli("decode", wire_by_hand.framed(body).hex()).ends(0 if is_read else 1))
    assert ("error" not in one) is is_read
    peer = raw(str(path))
    peer.connect()
    peer.send(body)
    assert (peer.hear()[0] == "PONG") is is_read


@pytest.mark.parametrize(
    ("body", "said"),
    [(b'PING {"later":{"a":1,"a":2}}', {"later": {"a": 2}}), (b'PING {"id":1,"id":2}', {"id": 2})],
)
def test_a_name_that_is_given_twice_is_read_as_by_the_broker(cli, cli_broker, path, raw, body, said):
    """In a field that nobody knows; the last value stands."""
    (one,) = told(cli("decode", wire_by_hand.framed(body).hex()).ends(0, ""))
    assert one["said"] == said
    peer = raw(str(path))
    peer.connect()
    peer.send(body)
    assert peer.hear()[0] == "PONG"


def test_the_byte_that_is_wrong_is_named(cli):
    body = bytearray(wire_by_hand.process_message(1))
    # The first text's length: the topic, right behind 16 + 1 bytes of UUID.
    body[17] = 0xFF
    (bad,) = told(cli("decode", "--dialect", "bincode", wire_by_hand.framed(bytes(body)).hex()).ends(1))
    assert bad["error_offset"] == 4 + 17
    whole = wire_by_hand.process_message(1)
    (bad,) = told(cli("decode", "--dialect", "bincode", wire_by_hand.framed(whole + b"\0").hex()).ends(1))
    assert bad["error_offset"] == 4 + len(whole)


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (b"\x05\0", "a length has 4 bytes, and 2 are there"),
        (b"\x05\0\0\0abc", "the length says 5 bytes, and 3 are there"),
        (b"HTTP/1.1 200", "a frame of 1347703880 bytes, more than any broker allows"),
    ],
)
def test_truncated_input_ends_decoding(cli, tail, words):
    child = cli("decode", (wire_by_hand.framed(b"PONG") + tail).hex()).ends(1)
    _, bad = told(child)
    assert (bad["frame"], bad["offset"]) == (2, 8)
    assert words in bad["error"]


def test_stdin_and_indented_output(cli):
    child = cli("decode", "--pretty", stdin=subprocess.PIPE)
    child.process.stdin.write(wire_by_hand.framed(b'STATS {"id":1}'))
    child.process.stdin.close()
    assert json.loads(child.ends(0, "").stdout)["said"] == {"id": 1}
    assert '\n  "verb": "STATS"' in child.stdout
    assert "No such file" in cli("decode", "--file", "/nowhere").ends(1).stderr
    assert cli("decode", stdin=subprocess.DEVNULL).ends(0, "").stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("--live", "00"),
        ("--live", "--file", "x"),
        ("--subscribe", "events.#", "00"),
        ("00", "--file", "x"),
        ("--live", "--subscribe", "events..x"),
        ("--live", "--as-original", "--subscribe", "events.#"),
        ("--dialect", "json", "00"),
    ],
)
def test_usage(cli, arguments):
    assert cli("decode", *arguments).ends(2).stderr.count("\n") == 1


def test_every_kind_is_documented():
    page = (Path(__file__).parent.parent / "docs/cli.md").read_text(encoding="utf-8")
    documented = re.search(r"`kind` is ([^.]*)\.", page)
    assert documented
    event = wire.encode(ProcessEvent(1, "sh"), type=CollectionEvent)
    bodies = (b"", b"PING", b"0f", b"\x10", event, b"\xff")
    kinds = {frames.read(body, 0, None)["kind"] for body in bodies}
    assert kinds == set(re.findall("`(.*?)`", documented[1]))


def test_a_dialect_that_no_connection_speaks(cli, path):
    """Files have it, and a listener may send it to a silent client."""
    said = cli("decode", "--live", "--dialect", "bincode-v0").ends(2).stderr
    assert said.startswith("daemoneye-eventbus decode: --dialect: must be one of bincode, postcard")
    assert "'bincode-v0'; with --live" in said
    cli("decode", "--live", "--as-original", "--dialect", "bincode-v0", "--connect-timeout", "0.1").ends(5)


@pytest.mark.parametrize("dialect", ["bincode", "postcard"])
def test_live(cli, cli_broker, dialect):
    child = cli("decode", "--live", "--dialect", dialect, "--subscribe", "events.process.#", "--count", "4")
    wait_for(lambda: '"OK"' in child.stdout)
    publish_lines(cli, events(7, 8)).ends(0)
    found = told(child.ends(0, ""))
    assert [(one["direction"], one.get("verb")) for one in found] == [
        ("sent", "CONNECT"),
        ("received", "INFO"),
        ("sent", "SUB"),
        ("received", "OK"),
        ("received", None),
        ("received", None),
    ]
    assert [one["fields"]["pid"] for one in found[-2:]] == [7, 8]
    assert {one["dialect"] for one in found[-2:]} == {dialect}
    # In each direction's own stream.
    assert found[1]["offset"] == 0
    assert found[3]["offset"] == 4 + found[1]["size"]
    assert [one["seconds"] for one in found] == sorted(one["seconds"] for one in found)


def test_live_with_a_token(cli, path, folder):
    token = folder / "token"
    token.write_bytes(b"s" * 32)
    token.chmod(0o600)
    cli("broker", path, "--token-file", token).until("listening", "stdout")
    assert "--token-file" in cli("decode", "--live", "--count", "1").ends(4).stderr
    verbs = [one["verb"] for one in told(cli("decode", "--live", "--token-file", token, "--count", "3").ends(0, ""))]
    assert verbs == ["CONNECT", "INFO", "AUTH", "OK", "SUB", "OK"]


def test_live_answers_pings_and_sees_the_end(cli, path):
    child = cli("broker", path, "--ping-interval", "0.3", "--ping-timeout", "1").until("listening", "stdout")
    tap = cli("decode", "--live")
    wait_for(lambda: tap.stdout.count('"verb": "PONG"') >= 5)
    assert tap.process.poll() is None
    child.signal(signal.SIGTERM).ends(0)
    assert "closed the connection" in tap.ends(5).stderr
    assert told(tap)[-1]["verb"] == "BYE"


def test_live_ends(cli, cli_broker, path):
    assert cli("decode", "--live", "--timeout", "0.3").ends(0, "").stdout.count("\n") == 4
    cli("decode", "--live", "--timeout", "0.3", "--count", "9").ends(6, "")
    tap = cli("decode", "--live")
    wait_for(lambda: '"OK"' in tap.stdout)
    tap.signal(signal.SIGINT).ends(130)
    read, write = os.pipe()
    tap = cli("decode", "--live", stdout=write)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        stream.readline()
    tap.ends(141)
    cli_broker.signal(signal.SIGTERM).ends(0)
    assert str(path) in cli("decode", "--live", "--connect-timeout", "0.2").ends(5).stderr


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        ("file", 4, "what is there is not a socket; check the path"),
        ("datagrams", 4, "the socket there is of another type"),
        ("below", 1, "Not a directory"),
        ("foreign", 4, "is no broker"),
    ],
)
def test_live_ends_as_other_commands_where_no_broker_can_be(cli, path, what, code, said):
    """It waited for all of --connect-timeout, and then said that there was no broker."""
    with contextlib.ExitStack() as there:
        place = path = Path(path)
        if what == "datagrams":
            there.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)).bind(str(path))
        elif what == "foreign":
            there.enter_context(foreign(path))
        else:
            path.touch()
            place = path / "b.sock" if what == "below" else path
        for command in (["decode", "--live"], ["stats"]):
            child = cli(*command, "--path", place, "--connect-timeout", "1000").ends(code)
            assert said in child.stderr, command
            assert "peer=" not in child.stderr, "an option that no command has"


def test_live_whose_subscription_is_refused(cli, path, folder):
    """It went on, and ended with 0."""
    rules = folder / "rules.toml"
    rules.write_text('[[rule]]\nsubscribe = ["#"]\nallow = false\n')
    cli("broker", path, "--rules", rules).until("listening", "stdout")
    child = cli("decode", "--live", "--subscribe", "events.#", "--timeout", "20").ends(4)
    assert "may not subscribe" in child.stderr
    assert '"verb": "ERR"' in child.stdout


def test_as_a_silent_client(cli, path):
    """Nothing is said; what comes is shown, whoever listens."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(DEADLINE)
        tap = cli("decode", "--live", "--as-original", "--count", "2")
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(DEADLINE)
            peer.sendall(wire_by_hand.framed(b"PING"))
            assert peer.recv(100) == wire_by_hand.framed(b"PONG")
            peer.sendall(wire_by_hand.framed(wire_by_hand.process_message(5)))
            found = told(tap.ends(0, ""))
    assert [(one["direction"], one["kind"]) for one in found] == [
        ("received", "text"),
        ("sent", "text"),
        ("received", "message"),
    ]
