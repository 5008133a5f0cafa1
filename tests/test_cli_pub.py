"""`pub`, and that it reads back what `sub --json` prints."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import json
import os
import pty
import re
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

import raw as raw_by_hand
from commands import DEADLINE, events, publish_lines, read_terminal
from daemoneye_eventbus import Broker, EventBus, TopicError
from daemoneye_eventbus._cli import jsonlines, pub
from daemoneye_eventbus._cli.kinds import KINDS
from daemoneye_eventbus._cli.options import documentation_of_native

pytest_plugins = ["commands"]
pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals, pipes and terminals of Unix"),
    pytest.mark.limit(90),
]


def test_line_for_people(cli, cli_broker):
    reader = cli("sub", "events.#", "control.#", "--include-control", "--count", "4").until("subscribed to")
    hostile = "a\x1b[2J\u202eb\n\u2028\\ \N{SNOWMAN}"
    time_of_start = "2026-01-02T03:04:05.123456789Z"
    arguments = ["--pid", "7", "--name", hostile, "--metadata", "k=v", "--start-time", time_of_start]
    cli("pub", "process", *arguments, "--correlation", "c-1").ends(0, "")
    cli("pub", "filesystem", "--file-path", "/etc/x y", "--event-type", "write", "--topic", "events.a.b").ends(0, "")
    cli("pub", "trigger", "--request-id", "r", "--collector-type", "p", "--priority", "4", "--payload", "\n").ends(
        0, ""
    )
    cli("pub", "control", "--topic", "control.agent.policy", "--payload-base64", "AP8=").ends(0, "")
    lines = reader.ends(0).stdout.splitlines()
    assert len(lines) == 4
    moment, _, rest = lines[0].partition(" ")
    assert len(moment) == len("2026-01-02T03:04:05.123456Z")
    assert rest == (
        'events.process.new c-1 process "a\\x1b[2J\\u202eb\\x0a\\u2028\\\\ \N{SNOWMAN}" pid=7 '
        "start_time=2026-01-02T03:04:05.123456Z metadata.k=v"
    )
    assert lines[1].split(" ", 1)[1].startswith("events.a.b ")
    assert lines[1].endswith('filesystem "/etc/x y" event_type=write')
    assert lines[2].endswith("trigger r collector_type=p priority=4 payload=\\x0a")
    assert lines[3].endswith("control 2 bytes payload=\\x00\\\\xff")
    assert "4 events in" in reader.stderr


ALL = [
    {"type": "process", "fields": {"pid": 2**32 - 1, "name": "\x00\u202e\U0001f600"}, "topic": "events.process.start"},
    {
        "type": "process",
        "fields": {
            "pid": 1,
            "name": "n",
            "command_line": "",
            "executable_path": "/x",
            "ppid": 0,
            "start_time_ns": 1_700_000_000_123_456_789,
            "metadata": {"a": "b", "": ""},
        },
    },
    {
        "type": "network",
        "fields": {"connection_id": "c", "source_address": "s", "destination_address": "d", "protocol": "tcp"},
    },
    {"type": "filesystem", "fields": {"path": "/p", "event_type": "write", "size": 2**64 - 1}},
    {"type": "performance", "fields": {"metric_name": "m", "value": 0.1 + 0.2, "unit": "s"}},
    {"type": "performance", "fields": {"metric_name": "m", "value": "NaN", "unit": "s"}},
    {"type": "performance", "fields": {"metric_name": "m", "value": "-Infinity", "unit": "s"}},
    {
        "type": "trigger",
        "fields": {
            "request_id": "r",
            "collector_type": "c",
            "priority": 255,
            "payload_base64": base64.b64encode(bytes(range(256))).decode(),
        },
    },
    {"type": "control", "topic": "control.agent.policy", "fields": {"payload_base64": "AP8K"}},
    {
        "type": "process",
        "fields": {"pid": 3, "name": "n"},
        "correlation": {
            "correlation_id": "child",
            "parent_correlation_id": "parent",
            "root_correlation_id": "root",
            "sequence_number": 2**64 - 1,
            "workflow_stage": "stage",
            "correlation_tags": {"t": "u"},
            "created_at_ns": 1_700_000_000_000_000_001,
        },
    },
]


def test_what_sub_prints_pub_reads_back(cli, cli_broker, folder):
    def listen():
        patterns = ["events.#", "control.#"]
        return cli("sub", "--json", "--include-control", "--count", str(len(ALL)), *patterns).until("subscribed")

    first = listen()
    publish_lines(cli, "".join(json.dumps(one) + "\n" for one in ALL)).ends(0)
    printed = [json.loads(line) for line in first.ends(0).stdout.splitlines()]
    assert first.stdout.isascii()
    for one, said in zip(printed, ALL, strict=True):
        assert one["type"] == said["type"]
        assert one["topic"] == said.get("topic", one["topic"])
        assert said["fields"].items() <= one["fields"].items()
        if "correlation" in said:
            assert one["correlation"] == said["correlation"]
        assert abs(one["timestamp_ns"] - time.time_ns()) < 60 * 10**9
        assert one["dropped_before"] == 0
    assert [one["sequence"] for one in printed] == list(range(len(ALL)))

    second = listen()
    (folder / "lines").write_text(first.stdout)
    assert "published 10 events" in cli("pub", "--file", folder / "lines").ends(0).stderr
    again = [json.loads(line) for line in second.ends(0).stdout.splitlines()]
    for before, after in zip(printed, again, strict=True):
        for key in ("topic", "type", "fields", "correlation", "matched_pattern"):
            assert before[key] == after[key]


def test_a_live_pipe_passes_events_on_at_once(cli, cli_broker, path, folder):
    """sub | pub: an event goes through though neither ends."""
    other = folder / "o.sock"
    cli("broker", other).until("listening", "stdout")
    read, write = os.pipe()
    source = cli("sub", "--json", "events.#", stdout=write).until("subscribed")
    cli("pub", "--path", other, stdin=read)
    os.close(read)
    os.close(write)
    last = cli("sub", "--path", other, "--json", "--count", "2", "events.#").until("subscribed")
    for name in ("one", "two"):
        cli("pub", "process", "--pid", "1", "--name", name).ends(0)
    assert [json.loads(line)["fields"]["name"] for line in last.ends(0).stdout.splitlines()] == ["one", "two"]
    source.signal(signal.SIGINT).ends(130)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[]", "not a JSON object but an array"),
        ("{", "not JSON"),
        ("\xff", "not JSON"),
        (b"\xff", "not UTF-8"),
        ("[" * 20_000 + "]" * 20_000, "nested too deep"),
        ('{"type":"performance","fields":{"value":1e999}}', "1e999 is no number of JSON; write it as a string"),
        ('{"type":"process","fields":{"pid":1,"name":"x"},"topc":"y"}', "topc: no such field"),
        ('{"type":"process","type":"process","fields":{"pid":1,"name":"x"}}', "'type' is given twice"),
        ('{"type":"process","fields":{"pid":1,"name":"x","pid":1}}', "'pid' is given twice"),
        ('{"type":"process","fields":{"pid":1,"name":"x","metadata":{"a":"1","a":"2"}}}', "'a' is given twice"),
        ('{"fields":{}}', "type: must be one of process, network"),
        ('{"type":["x"],"fields":{}}', "type: must be one of"),
        ('{"type":"process"}', "fields: expected an object, got nothing"),
        ('{"type":"process","fields":{"pid":1}}', "fields.name: missing, and it has no default"),
        ('{"type":"process","fields":{"pid":-1,"name":"x"}}', "fields.pid: must be between 0"),
        ('{"type":"process","fields":{"pid":true,"name":"x"}}', "fields.pid: expected int"),
        ('{"type":"process","fields":{"pid":1,"name":null}}', "fields.name: expected str"),
        ('{"type":"process","fields":{"pid":1,"name":"\\ud800"}}', "fields.name: "),
        ('{"type":"process","fields":{"pid":1,"name":"x","size":1}}', "fields.size: no such field"),
        ('{"type":"process","fields":{"pid":1,"name":"x","start_time":1}}', "fields.start_time: no such field"),
        ('{"type":"process","fields":{"pid":1,"name":"x","start_time_ns":1.5}}', "fields.start_time_ns: expected nano"),
        ('{"type":"process","fields":{"pid":1,"name":"x","start_time_ns":1' + "0" * 30 + "}}", "beyond the years"),
        (
            '{"type":"process","fields":{"pid":1,"name":"x","start_time_ns":-1}}',
            "fields.start_time_ns: times before 1970 cannot be written",
        ),
        ('{"type":"process","fields":{"pid":1,"name":"x","metadata":{"a":1}}}', "fields.metadata"),
        (
            '{"type":"performance","fields":{"metric_name":"m","value":NaN,"unit":"s"}}',
            "NaN is no number of JSON; write it as a string",
        ),
        ('{"type":"performance","fields":{"metric_name":"m","value":"x","unit":"s"}}', "fields.value"),
        ('{"type":"trigger","fields":{"request_id":"r","collector_type":"c","payload_base64":"?"}}', "not base64"),
        ('{"type":"process","topic":"control.x","fields":{"pid":1,"name":"x"}}', "control.x"),
        ('{"type":"process","topic":"events..x","fields":{"pid":1,"name":"x"}}', "events..x"),
        ('{"type":"process","topic":5,"fields":{"pid":1,"name":"x"}}', "topic: expected a string, got a number"),
        ('{"type":"process","correlation":5,"fields":{"pid":1,"name":"x"}}', "correlation: expected a string"),
        ('{"type":"process","correlation":{},"fields":{"pid":1,"name":"x"}}', "correlation.correlation_id: missing"),
        (
            '{"type":"process","correlation":{"correlation_id":"x","sequence_number":-1},"fields":{"pid":1,"name":"x"}}',
            "correlation.sequence_number: ",
        ),
        ('{"type":"control","fields":{"payload_base64":""}}', "topic: a control message has no default topic"),
        ('{"type":"control","topic":"control.x","fields":{}}', "payload_base64"),
        ('{"type":"control","topic":"events.x","fields":{"payload_base64":""}}', "events.x"),
    ],
)
def test_bad_line_names_its_field(line, said):
    with pytest.raises((jsonlines.LineError, TopicError), match=re.escape(said)):
        asyncio.run(published(jsonlines.read(line if isinstance(line, bytes) else line.encode())))


async def published(parsed):
    """What only the bus finds: topics that cannot be, or not for this type."""
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        async with Broker(Path(made) / "b") as broker, EventBus.from_broker(broker) as bus:
            await pub._publish(bus, parsed)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"\xff", "not UTF-8"),
        ('{"type":"process","fields":{"pid":-1,"name":"x"}}', "fields.pid: must be between 0"),
        ('{"type":"process","topic":"control.x","fields":{"pid":1,"name":"x"}}', "topic: "),
        ('{"type":"process","correlation":"\\ud800","fields":{"pid":1,"name":"x"}}', ": correlation: holds surrogates"),
        (
            '{"type":"control","topic":"control.x","correlation":"\\ud800","fields":{"payload_base64":""}}',
            ": correlation: holds surrogates",
        ),
    ],
)
def test_bad_line_is_named_and_what_came_before_counts(cli, cli_broker, line, said):
    text = line if isinstance(line, bytes) else line.encode()
    child = publish_lines(cli, events(1, 2).encode() + b"\n" + text + b"\n" + events(3).encode()).ends(1)
    first, last = child.stderr.splitlines()
    assert first.startswith("daemoneye-eventbus pub: line 4: ")
    assert said in first
    assert last == "daemoneye-eventbus pub: published 2 events, 1 bad line"


def test_keep_going(cli, cli_broker):
    reader = cli("sub", "events.#", "--count", "3", "--json").until("subscribed")
    child = publish_lines(cli, events(1) + "x\n" + events(2) + "{}\n" + events(3).rstrip("\n"), "--keep-going").ends(1)
    assert "line 2: " in child.stderr
    assert "line 4: " in child.stderr
    assert child.stderr.endswith("published 3 events, 2 bad lines\n")
    assert [json.loads(line)["fields"]["pid"] for line in reader.ends(0).stdout.splitlines()] == [1, 2, 3]


def test_what_is_refused_is_not_counted_as_published(cli, path, folder):
    rules = folder / "rules.toml"
    rules.write_text('[[rule]]\npublish = ["events.process.stop"]\nallow = false\n')
    cli("broker", path, "--rules", rules).until("listening", "stdout")
    lines = events(1, 2) + events(3, topic="events.process.stop")
    why = f"uid {os.geteuid()} may not publish on this topic; have the broker's rules allow it"
    assert publish_lines(cli, lines + "{}\n", "--keep-going").ends(4).stderr.splitlines()[-2:] == [
        "daemoneye-eventbus pub: published 2 events, 1 bad line, 1 refused",
        f"daemoneye-eventbus pub: the broker refused 1 of what was published: {why}",
    ]
    one = cli("pub", "process", "--pid", "1", "--name", "x", "--topic", "events.process.stop").ends(4)
    assert one.stderr == f"daemoneye-eventbus pub: the broker refused 1 of what was published: {why}\n"


def test_what_comes_too_fast_is_refused_with_the_reason(cli, path):
    cli("broker", path, "--rate-limit", "messages=2").until("listening", "stdout")
    said = publish_lines(cli, events(*range(50))).ends(1).stderr.splitlines()[-1]
    assert ": above the broker's rate_limit; publish more slowly, or with --congestion block" in said


@pytest.mark.parametrize("confirms", [True, False])
def test_what_no_broker_confirmed_is_not_counted_as_published(cli, path, confirms):
    """One that dies with an event unread, and its successor, which confirms what is published later."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(DEADLINE)

        def accept():
            peer = raw_by_hand.Raw.of(listener.accept()[0], DEADLINE)
            peer.expect("CONNECT")
            peer.say("INFO", **raw_by_hand.info())
            return contextlib.closing(peer)

        child = cli("pub", stdin=subprocess.PIPE)
        with accept() as first:
            child.process.stdin.write(events(1).encode())
            child.process.stdin.flush()
            assert first.message()
        with accept() as second:
            child.process.stdin.close()
            while confirms and (body := second.receive()) is not None:
                if body == b"PING":
                    second.say("PONG")
            child.ends(5)
    why = "the connection broke, and 1 of what was published may be lost"
    assert child.stderr.splitlines()[-2:] == [
        "daemoneye-eventbus pub: published 0 events, 1 unconfirmed",
        f"daemoneye-eventbus pub: {why if confirms else 'the broker did not confirm what was published'}",
    ]


def test_a_reader_that_fails_ends_it(cli, cli_broker, folder):
    """It has a thread of its own, and once only some errors were told to who waits for its lines."""
    (folder / "sitecustomize.py").write_text(
        "import os\n"
        "read = os.read\n"
        "def fail(descriptor, size):\n"
        "    if descriptor == 0:\n"
        "        raise MemoryError\n"
        "    return read(descriptor, size)\n"
        "os.read = fail\n"
    )
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    child = cli("pub", env={"PYTHONPATH": path}).ends(1)
    assert child.stderr.splitlines() == [
        "daemoneye-eventbus pub: published 0 events",
        "daemoneye-eventbus pub: out of memory",
    ]


def test_empty_input_and_files(cli, cli_broker, folder):
    publish_lines(cli, "").ends(0, "daemoneye-eventbus pub: published 0 events\n")
    publish_lines(cli, "", "--quiet").ends(0, "")
    assert "No such file" in cli("pub", "--file", folder / "none").ends(1).stderr
    assert "is a directory" in cli("pub", "--file", folder).ends(1).stderr
    cli("pub", "--file", "x", "process", "--pid", "1", "--name", "x").ends(2)


def test_help_tells_the_fields_of_a_type(cli):
    """As the stub does: every one of them."""
    for kind, cls in KINDS.items():
        text = cli("pub", kind, "--help", env={"COLUMNS": "200"}).ends(0).stdout
        assert "the broker at /tmp/daemoneye-NAME.sock" in text
        for option, told in re.findall(r"^  (--\S+)(.*(?:\n {10}.*)*)", text, re.MULTILINE):
            assert re.search(r"[a-z] [a-z]", told), option
        documented = documentation_of_native(cls.__name__)
        assert set(documented) == {field.name for field in dataclasses.fields(cls)}
        shown = " ".join(text.split())
        # What a shell has not.
        assert [word for word in ("None", "os_text", "ValueError", "datetime") if word in shown] == []
        assert [name for name, told in documented.items() if told not in shown] == [
            name for name in ("start_time", "payload") if name in documented
        ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("process", "--pid", "1"), "required: --name"),
        (("process", "--pid", "-1", "--name", "x"), "--pid"),
        (("process", "--pid", str(2**32), "--name", "x"), "pid: must be between 0"),
        (("process", "--pid", "1", "--name", "x", "--metadata", "x"), "KEY=VALUE"),
        (("process", "--pid", "1", "--name", "x", "--start-time", "yesterday"), "--start-time"),
        (("process", "--pid", "1", "--name", "x", "--start-time", "2026-01-01"), "with an offset"),
        (("process", "--pid", "1", "--name", "x", "--topic", "control.x"), "control.x"),
        (("process", "--pid", "1", "--name", "x", "--topic", "Events"), "Events"),
        (("process", "--pid", "1", "--name", "x", "--correlation", 257 * "c"), "pub: --correlation: 257 bytes"),
        (("trigger", "--request-id", "r", "--collector-type", "c", "--payload-base64", "?"), "not base64"),
        (
            ("control", "--topic", "control.x", "--payload", "x", "--correlation", 257 * "c"),
            "pub: --correlation: 257 bytes",
        ),
        (("control", "--payload", "x"), "required: --topic"),
        (("nothing",), "invalid choice"),
    ],
)
def test_bad_arguments_of_pub_are_usage_errors(cli, cli_broker, arguments, said):
    child = cli("pub", *arguments).ends(2)
    assert said in child.stderr
    assert child.stderr.count("\n") == 1


def test_progress_of_a_large_file(cli, cli_broker, folder):
    (folder / "lines").write_text(events(*range(50_000)))
    controller, terminal = pty.openpty()
    child = cli("pub", "--file", folder / "lines", stderr=terminal)
    os.close(terminal)
    shown = read_terminal(controller, child)
    child.process.wait(DEADLINE)
    assert " %, " in shown
    assert "published 50000 events" in shown
    assert json.loads(cli("stats", "--json").ends(0).stdout)["messages_published"] == 50_000


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("process --name x --pid 4294967296", "pub: --pid: must be between 0 and 4294967295, got 4294967296"),
        ("process --name x --pid -1", "pub: --pid: must be between 0 and 4294967295, got -1"),
        ("process --name x --pid 1 --ppid " + 60 * "9", "pub: --ppid: must be between 0 and 4294967295"),
        (
            "performance --metric-name m --unit s --value high",
            "pub performance: argument --value: 'high' is no number;",
        ),
        ("process --name x --pid 1_0", "pub process: argument --pid: '1_0' is no integer"),
        (
            "filesystem --file-path /x --event-type y --size -1",
            "pub: --size: must be between 0 and 18446744073709551615",
        ),
        ("trigger --request-id r --collector-type p --priority 256", "pub: --priority: must be between 0 and 255"),
    ],
)
def test_a_number_has_the_limits_of_its_own_field(cli, line, said):
    assert said in cli("pub", *line.split()).ends(2).stderr


def test_an_option_of_lines_is_refused_with_a_type(cli):
    for option in (("--file", "x"), ("--keep-going",)):
        said = cli("pub", *option, "process", "--pid", "1", "--name", "x").ends(2).stderr
        assert f"pub: {option[0]} " in said


def test_one_is_not_many(cli, cli_broker):
    assert publish_lines(cli, events(1)).ends(0).stderr == "daemoneye-eventbus pub: published 1 event\n"
    said = publish_lines(cli, events(1) + "{", "--keep-going").ends(1).stderr
    assert said.endswith("daemoneye-eventbus pub: published 1 event, 1 bad line\n")
    reader = cli("sub", "events.#", "--count", "1").until("subscribed to")
    publish_lines(cli, events(1)).ends(0)
    assert re.search(r"sub: 1 event in [0-9.]+ s, 0 dropped\n$", reader.ends(0).stderr)
