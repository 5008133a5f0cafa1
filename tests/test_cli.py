"""The command line as its users meet it: real processes, pipes, a terminal and signals.

Every wait has a deadline, and a timer kills all children of a test that is stuck all the same.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import os
import pty
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from daemoneye_eventbus import Broker, BrokerConfig, ClientConfig, EventBus, ProcessEvent, TopicError
from daemoneye_eventbus._cli import jsonlines, pub

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals, pipes and terminals of Unix")

DEADLINE = 20.0
WATCHDOG = 60.0
# What is left open would be warned about, and is an error here.
STRICT = ["-W", "error", "-W", "ignore:daemoneye_eventbus is a debug"]
COMMAND = [sys.executable, *STRICT, "-m", "daemoneye_eventbus"]


class Child:
    """A command that runs; its streams are files unless somebody reads them while it does."""

    def __init__(self, arguments, env, *, stdin=subprocess.DEVNULL, stdout=None, stderr=None):
        self.out = tempfile.TemporaryFile()  # closed in close()
        self.err = tempfile.TemporaryFile()  # the same
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            stdin=stdin,
            stdout=self.out if stdout is None else stdout,
            stderr=self.err if stderr is None else stderr,
            env=env,
            start_new_session=True,
        )

    @property
    def stdout(self):
        return self._read(self.out)

    @property
    def stderr(self):
        return self._read(self.err)

    @staticmethod
    def _read(file):
        # The child shares the file's position, so that it must not move.
        return os.pread(file.fileno(), 2**26, 0).decode()

    def until(self, text, stream="stderr"):
        """Returns once `text` stands in the stream."""
        wait_for(lambda: text in getattr(self, stream) or self.process.poll() is not None, f"{text!r}")
        assert text in getattr(self, stream), (self.process.poll(), self.stdout, self.stderr)
        return self

    def signal(self, number):
        self.process.send_signal(number)
        return self

    def ends(self, code, stderr=None):
        """Waits; the code must be this, and there must be no traceback nor warning."""
        ended = self.process.wait(DEADLINE)
        assert "Traceback" not in self.stderr
        assert ended == code, (ended, self.stdout, self.stderr)
        if stderr is not None:
            assert self.stderr == stderr
        return self

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(DEADLINE)
        for stream in (self.out, self.err, self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


def wait_for(condition, what="condition"):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {DEADLINE} s"
        time.sleep(0.02)


@pytest.fixture
def folder():
    made = Path(tempfile.mkdtemp(prefix="deb-", dir="/tmp"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def path(folder):
    return folder / "b.sock"


@pytest.fixture
def cli(path):
    """Starts commands, with the broker's address in the environment."""
    children = []

    def start(*arguments, env=None, **options):
        settings = {key: value for key, value in os.environ.items() if key != "NOTIFY_SOCKET"}
        settings |= {"DAEMONEYE_BROKER_SOCKET": str(path), **(env or {})}
        children.append(Child(arguments, settings, **options))
        return children[-1]

    def kill():
        for child in children:
            child.process.kill()

    watchdog = threading.Timer(WATCHDOG, kill)
    watchdog.start()
    yield start
    watchdog.cancel()
    for child in children:
        child.close()


@pytest.fixture
def broker(cli, path):
    return cli("broker", path).until("listening", "stdout")


def fed(cli, text, *arguments):
    """`pub` with this on its stdin."""
    child = cli("pub", *arguments, stdin=subprocess.PIPE)
    child.process.stdin.write(text if isinstance(text, bytes) else text.encode())
    child.process.stdin.close()
    return child


def events(*pids, **more):
    return "".join(json.dumps({"type": "process", "fields": {"pid": pid, "name": "sh"}, **more}) + "\n" for pid in pids)


# -- broker


def options_of(config):
    left_out = {"token", "rate_limit"}
    return {field.name for field in dataclasses.fields(config)} - left_out


def test_every_setting_of_the_broker_is_an_option_with_its_unit(cli):
    text = " ".join(cli("broker", "--help", env={"COLUMNS": "200"}).ends(0).stdout.split())
    for name in options_of(BrokerConfig):
        assert f"--{name.replace('_', '-')} " in text, name
    assert "--max-frame BYTES Largest frame body in bytes" in text
    assert "--handshake-timeout SECONDS Seconds from accept to CONNECT. (default: 2.0)" in text
    assert "--token-file" in text
    assert "--token " not in text
    assert "exit codes: 0 done" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("--max-frame", "64K", "--queue-bytes", "1MiB", "--total-queue-bytes", "1g"),
        ("--overflow", "disconnect", "--no-original-peers", "--handshake-timeout", "0.5"),
        ("--socket-mode", "0660", "--socket-group", str(os.getgid()), "--allowed-uids", "1,2", "--allowed-uids", "3"),
        ("--original-patterns", "events.process.#,events.network.#", "--max-topic-depth", "5", "--log-level", "debug"),
    ],
)
def test_options_are_obeyed(cli, path, arguments):
    child = cli("broker", path, *arguments).until("listening", "stdout")
    if "--socket-mode" in arguments:
        assert path.stat().st_mode & 0o777 == 0o660
    if "--max-frame" in arguments:
        large = {"pid": 1, "name": "x" * 70_000}
        said = fed(cli, json.dumps({"type": "process", "fields": large})).ends(1).stderr
        assert "line 1: " in said
        assert "65536" in said
    child.signal(signal.SIGTERM).ends(0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--max-frame", "12"), "--max-frame: must be between 1024"),
        (("--max-frame", "1.5M"), "no size"),
        (("--max-connections", "x"), "argument --max-connections"),
        (("--socket-mode", "0666"), "--socket-mode: must be 0o600 or 0o660"),
        (("--socket-mode", "99"), "no mode"),
        (("--allowed-uids", "7"), "--allowed-uids: others cannot open"),
        (("--allowed-uids", "root"), "no list of int"),
        (("--overflow", "block"), "invalid choice"),
        (("--original-auth",), "--original-auth: needs a token"),
        (("--ping-interval", "100"), "--ping-timeout: must be above ping_interval"),
        (("--drain", "nan"), "no number of seconds"),
        (("--path", "/tmp/other"), "not allowed with argument"),
        (("--unknown",), "unrecognized arguments"),
        (("--max-conn", "5"), "unrecognized arguments"),
    ],
)
def test_options_that_cannot_be_are_usage(cli, path, arguments, said):
    child = cli("broker", path, *arguments).ends(2)
    assert said in child.stderr
    assert child.stderr.count("\n") == 1
    assert child.stdout == ""
    assert not path.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_broker_ends_with_zero_and_takes_its_socket_along(cli, path, number):
    child = cli("broker", path).until("listening", "stdout")
    assert child.stdout == f"broker: listening on {path}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    child.signal(signal.SIGHUP)
    cli("stats").ends(0)
    child.signal(number)
    child.ends(0, "")
    assert not path.exists()


def test_signals_during_start_and_twice(cli, path):
    for pause in (0.0, 0.001, 0.005, 0.02):
        child = cli("broker", path).until("listening", "stdout")
        child.signal(signal.SIGTERM)
        time.sleep(pause)
        child.signal(signal.SIGINT).signal(signal.SIGTERM)
        child.ends(0, "")
        assert not path.exists()


def test_drain_delivers_what_is_queued_or_counts_it(cli, path):
    child = cli("broker", path, "--drain", "0.5").until("listening", "stdout")
    # A reader that has stopped reading: its pipe is full, then its queue, then the kernel's.
    read, write = os.pipe()
    reader = cli("sub", "events.#", "--quiet", "--overflow", "block", stdout=write)
    os.close(write)
    wait_for(lambda: json.loads(cli("stats", "--json").ends(0).stdout)["active_subscribers"] == 1)
    reader.signal(signal.SIGSTOP)
    fed(cli, events(*range(20_000), topic="events.process.start")).ends(0)
    began = time.monotonic()
    child.signal(signal.SIGTERM).ends(0)
    assert time.monotonic() - began < 5
    assert "queued messages could not be delivered within 0.5 s" in child.stderr
    os.close(read)


def test_second_broker_and_refused_paths(cli, broker, path, folder):
    second = cli("broker", path).ends(3)
    assert f"already running at {path} (pid {broker.process.pid})" in second.stderr
    assert cli("broker", "--path", path).ends(3).stderr.count("\n") == 1
    file = folder / "file"
    file.write_text("content")
    assert "refused" in cli("broker", file).ends(4).stderr
    assert file.read_text() == "content"
    (folder / "link").symlink_to(path)
    assert "refused" in cli("broker", folder / "link").ends(4).stderr
    assert "107" in cli("broker", "/tmp/" + "x" * 200).ends(4).stderr
    cli("stats").ends(0)


def test_addresses(cli, path):
    name = f"cli-{os.getpid()}"
    child = cli("broker", "--instance", name, env={"DAEMONEYE_BROKER_SOCKET": "/nowhere"}).until("listening", "stdout")
    assert f"/tmp/daemoneye-{name}.sock" in child.stdout
    cli("stats", "--instance", name).ends(0)
    cli("stats", "--path", f"/tmp/daemoneye-{name}.sock").ends(0)
    cli("pub", "--instance", name, "process", "--pid", "1", "--name", "x").ends(0)
    cli("pub", "process", "--pid", "1", "--name", "x", "--instance", name).ends(0)
    cli("stats", "--instance", "../etc").ends(2)
    cli("stats", "--instance", name, "--path", path).ends(2)
    cli("pub", "--instance", name, "process", "--pid", "1", "--name", "x", "--path", path).ends(2)
    assert "DAEMONEYE_BROKER_SOCKET" in cli("stats", env={"DAEMONEYE_BROKER_SOCKET": ""}).ends(2).stderr
    child.signal(signal.SIGTERM).ends(0)
    Path(f"/tmp/daemoneye-{name}.sock.lock").unlink()


@pytest.mark.parametrize("abstract", [False, True])
def test_service_manager_is_notified(cli, path, folder, abstract):
    if abstract and sys.platform != "linux":
        pytest.skip("abstract addresses are Linux's")
    address = f"@deb-{os.getpid()}" if abstract else str(folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + address[1:] if abstract else address)
        manager.settimeout(DEADLINE)
        child = cli("broker", path, env={"NOTIFY_SOCKET": address})
        assert manager.recv(4096).decode() == f"READY=1\nSTATUS=Listening on {path}"
        # Ready means ready.
        cli("stats", "--connect-timeout", "0.1").ends(0)
        child.signal(signal.SIGTERM)
        assert manager.recv(4096) == b"STOPPING=1"
        child.ends(0, "")


@pytest.mark.parametrize("address", ["/nowhere/at/all", "vsock:2:9999", "relative"])
def test_service_manager_that_does_not_listen_stops_nothing(cli, path, address):
    child = cli("broker", path, env={"NOTIFY_SOCKET": address}).until("listening", "stdout").until("notified")
    child.signal(signal.SIGTERM).ends(0)


def test_tokens(cli, path, folder):
    files = []
    for index, mode in enumerate((0o600, 0o400, 0o600, 0o644)):
        files.append(folder / f"token{index}")
        files[-1].write_bytes(b"%d" % index * 32 + b"\n")
        files[-1].chmod(mode)
    old, new, wrong, readable = files
    child = cli("broker", path, "--token-file", old, "--token-file", new).until("listening", "stdout")
    cli("stats", "--token-file", old).ends(0)
    cli("stats", "--token-file", new).ends(0)
    cli("stats", "--token-file", wrong).ends(4)
    cli("stats").ends(4)
    assert "chmod 600" in cli("stats", "--token-file", readable).ends(4).stderr
    assert "chmod 600" in cli("broker", folder / "c.sock", "--token-file", readable).ends(4).stderr
    assert "No such file" in cli("stats", "--token-file", folder / "none").ends(4).stderr
    (folder / "short").write_bytes(b"x")
    (folder / "short").chmod(0o600)
    assert "token" in cli("broker", folder / "c.sock", "--token-file", folder / "short").ends(2).stderr
    child.signal(signal.SIGTERM).ends(0)
    assert "0" * 32 not in child.stderr + child.stdout


# -- sub and pub


def test_line_for_people(cli, broker):
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


def test_what_sub_prints_pub_reads_back(cli, broker, folder):
    def listen():
        patterns = ["events.#", "control.#"]
        return cli("sub", "--json", "--include-control", "--count", str(len(ALL)), *patterns).until("subscribed")

    first = listen()
    fed(cli, "".join(json.dumps(one) + "\n" for one in ALL)).ends(0)
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


def test_a_live_pipe_passes_events_on_at_once(cli, broker, path, folder):
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
        ("[" * 100_000, "nested too deep"),
        ('{"type":"process","fields":{"pid":1,"name":"x"},"topc":"y"}', "topc: no such field"),
        ('{"fields":{}}', "type: must be one of process, network"),
        ('{"type":["x"],"fields":{}}', "type: must be one of"),
        ('{"type":"process"}', "fields: expected an object, got nothing"),
        ('{"type":"process","fields":{"pid":1}}', "name"),
        ('{"type":"process","fields":{"pid":-1,"name":"x"}}', "fields.pid: must be between 0"),
        ('{"type":"process","fields":{"pid":true,"name":"x"}}', "fields.pid: expected int"),
        ('{"type":"process","fields":{"pid":1,"name":null}}', "fields.name: expected str"),
        ('{"type":"process","fields":{"pid":1,"name":"\\ud800"}}', "fields.name: "),
        ('{"type":"process","fields":{"pid":1,"name":"x","size":1}}', "fields.size: no such field"),
        ('{"type":"process","fields":{"pid":1,"name":"x","start_time":1}}', "fields.start_time: no such field"),
        ('{"type":"process","fields":{"pid":1,"name":"x","start_time_ns":1.5}}', "fields.start_time_ns: expected nano"),
        ('{"type":"process","fields":{"pid":1,"name":"x","start_time_ns":1' + "0" * 30 + "}}", "beyond the years"),
        ('{"type":"process","fields":{"pid":1,"name":"x","metadata":{"a":1}}}', "fields.metadata"),
        ('{"type":"performance","fields":{"metric_name":"m","value":NaN,"unit":"s"}}', "NaN is no JSON"),
        ('{"type":"performance","fields":{"metric_name":"m","value":"x","unit":"s"}}', "fields.value"),
        ('{"type":"trigger","fields":{"request_id":"r","collector_type":"c","payload_base64":"?"}}', "not base64"),
        ('{"type":"process","topic":"control.x","fields":{"pid":1,"name":"x"}}', "control.x"),
        ('{"type":"process","topic":"events..x","fields":{"pid":1,"name":"x"}}', "events..x"),
        ('{"type":"process","topic":5,"fields":{"pid":1,"name":"x"}}', "topic: expected a string, got a number"),
        ('{"type":"process","correlation":5,"fields":{"pid":1,"name":"x"}}', "correlation: expected a string"),
        ('{"type":"process","correlation":{},"fields":{"pid":1,"name":"x"}}', "correlation"),
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
        ('{"type":"process","correlation":"\\ud800","fields":{"pid":1,"name":"x"}}', "correlation: "),
    ],
)
def test_bad_line_is_named_and_what_came_before_counts(cli, broker, line, said):
    text = line if isinstance(line, bytes) else line.encode()
    child = fed(cli, events(1, 2).encode() + b"\n" + text + b"\n" + events(3).encode()).ends(1)
    first, last = child.stderr.splitlines()
    assert first.startswith("daemoneye-eventbus pub: line 4: ")
    assert said in first
    assert last == "daemoneye-eventbus pub: published 2 events, 1 bad lines"


def test_keep_going(cli, broker):
    reader = cli("sub", "events.#", "--count", "3", "--json").until("subscribed")
    child = fed(cli, events(1) + "x\n" + events(2) + "{}\n" + events(3).rstrip("\n"), "--keep-going").ends(1)
    assert "line 2: " in child.stderr
    assert "line 4: " in child.stderr
    assert child.stderr.endswith("published 3 events, 2 bad lines\n")
    assert [json.loads(line)["fields"]["pid"] for line in reader.ends(0).stdout.splitlines()] == [1, 2, 3]


def test_empty_input_and_files(cli, broker, folder):
    fed(cli, "").ends(0, "daemoneye-eventbus pub: published 0 events\n")
    fed(cli, "", "--quiet").ends(0, "")
    assert "No such file" in cli("pub", "--file", folder / "none").ends(1).stderr
    assert "is a directory" in cli("pub", "--file", folder).ends(1).stderr
    cli("pub", "--file", "x", "process", "--pid", "1", "--name", "x").ends(2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("process", "--pid", "1"), "required: --name"),
        (("process", "--pid", "-1", "--name", "x"), "--pid"),
        (("process", "--pid", str(2**32), "--name", "x"), "pid: must be between 0"),
        (("process", "--pid", "1", "--name", "x", "--metadata", "x"), "KEY=VALUE"),
        (("process", "--pid", "1", "--name", "x", "--start-time", "yesterday"), "--start-time"),
        (("process", "--pid", "1", "--name", "x", "--start-time", "2026-01-01"), "--start-time"),
        (("process", "--pid", "1", "--name", "x", "--topic", "control.x"), "control.x"),
        (("process", "--pid", "1", "--name", "x", "--topic", "Events"), "Events"),
        (("trigger", "--request-id", "r", "--collector-type", "c", "--payload-base64", "?"), "not base64"),
        (("control", "--payload", "x"), "required: --topic"),
        (("nothing",), "invalid choice"),
    ],
)
def test_bad_arguments_of_pub_are_usage(cli, broker, arguments, said):
    child = cli("pub", *arguments).ends(2)
    assert said in child.stderr
    assert child.stderr.count("\n") == 1


def test_progress_of_a_large_file(cli, broker, folder):
    (folder / "lines").write_text(events(*range(50_000)))
    controller, terminal = pty.openpty()
    child = cli("pub", "--file", folder / "lines", stderr=terminal)
    os.close(terminal)
    shown = read_terminal(controller, child)
    child.process.wait(DEADLINE)
    assert " %, " in shown
    assert "published 50000 events" in shown
    assert json.loads(cli("stats", "--json").ends(0).stdout)["messages_published"] == 50_000


def read_terminal(controller, child, until=None):
    """What the child showed, to its end or until a text stands there."""
    shown = b""
    deadline = time.monotonic() + DEADLINE
    while until is None or until not in shown:
        assert time.monotonic() < deadline, shown
        if select.select([controller], [], [], 0.1)[0]:
            try:
                chunk = os.read(controller, 65536)
            except OSError:
                # The last process closed the terminal.
                chunk = b""
            if not chunk:
                break
            shown += chunk
        elif child.process.poll() is not None:
            break
    if until is None:
        os.close(controller)
    return shown.decode()


PEOPLE = [
    {
        "type": "process",
        "fields": {"pid": 1, "name": "a", "metadata": {"collector": "x", "k": "v"}},
        "correlation": "c-1",
    },
    {
        "type": "process",
        "fields": {"pid": 2, "name": "b"},
        "topic": "events.process.start",
        "correlation": {
            "correlation_id": "d-1",
            "parent_correlation_id": "p",
            "root_correlation_id": "r",
            "workflow_stage": "s",
            "sequence_number": 5,
            "correlation_tags": {"t": "u"},
        },
    },
    {"type": "performance", "fields": {"metric_name": "m", "value": 1, "unit": "s"}},
    {"type": "trigger", "fields": {"request_id": "r", "collector_type": "c", "priority": 9}},
    {"type": "control", "topic": "control.agent.policy", "fields": {"payload_base64": ""}},
]


FILTERS = [
    ([], [1, 2, None, None]),
    (["--include-control"], [1, 2, None, None, None]),
    (["--type", "process"], [1, 2]),
    (["--type", "performance", "--type", "trigger"], [None, None]),
    (["--pid", "2", "--pid", "3"], [2]),
    (["--min-priority", "9"], [None]),
    (["--min-priority", "10"], []),
    (["--metadata", "k=v"], [1]),
    (["--collector", "x"], [1]),
    (["--topic", "events.process.start"], [2]),
    (["--correlation", "c-1"], [1]),
    (["--correlation-pattern", "d-*"], [2]),
    (["--parent", "p"], [2]),
    (["--root", "r", "--root", "c-1"], [1, 2]),
    (["--stage", "s"], [2]),
    (["--tag", "t=u"], [2]),
    (["--any-tag", "t=u", "--any-tag", "x=y"], [2]),
    (["--min-sequence", "5"], [2]),
    (["--max-sequence", "4", "--type", "process"], [1]),
]


def test_filters(cli, broker):
    readers = [cli("sub", "events.#", "control.#", "--json", *filters) for filters, _ in FILTERS]
    for reader in readers:
        reader.until("subscribed")
    fed(cli, "".join(json.dumps(line) + "\n" for line in PEOPLE)).ends(0)

    def printed(reader):
        return [json.loads(line)["fields"].get("pid") for line in reader.stdout.splitlines()]

    for reader, (_, expected) in zip(readers, FILTERS, strict=True):
        wait_for(lambda reader=reader, expected=expected: len(printed(reader)) >= len(expected), "what matches")
    # What should not come had as long as what should.
    for reader, (filters, expected) in zip(readers, FILTERS, strict=True):
        reader.signal(signal.SIGINT).ends(130)
        assert printed(reader) == expected, filters


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "PATTERN"),
        (("events..x",), "events..x"),
        (("events.#.x",), "events.#.x"),
        (("events.#", "--topic", "##"), "##"),
        (("events.#", "--type", "x"), "invalid choice"),
        (("events.#", "--pid", "x"), "--pid"),
        (("events.#", "--metadata", "x"), "KEY=VALUE"),
        (("events.#", "--count", "0"), "--count"),
        (("events.#", "--timeout", "-1"), "--timeout"),
    ],
)
def test_bad_arguments_of_sub_are_usage(cli, broker, arguments, said):
    child = cli("sub", *arguments).ends(2)
    assert said in child.stderr
    assert child.stderr.count("\n") == 1


def test_count_and_timeout(cli, broker):
    cli("sub", "events.#", "--count", "1", "--timeout", "0.3", "--quiet").ends(6, "")
    cli("sub", "events.#", "--timeout", "0.3", "--quiet").ends(0, "")
    reader = cli("sub", "events.#", "--count", "3").until("subscribed")
    fed(cli, events(1, 2, 3, 4, 5)).ends(0)
    assert len(reader.ends(0).stdout.splitlines()) == 3


def test_rates_and_drops(cli, broker):
    read, write = os.pipe()
    slow = cli("sub", "events.#", "--interval", "0.1", stdout=write).until("subscribed")
    os.close(write)
    # More than its pipe, its queue and the kernel's buffers hold.
    for _ in range(4):
        fed(cli, events(*range(50_000))).ends(0)
    stream = os.fdopen(read, "rb")
    rest = threading.Thread(target=stream.read, daemon=True)
    rest.start()

    def everything():
        reports = re.findall(r"(\d+) events, \d+/s, (\d+) dropped", slow.stderr)
        return reports and sum(map(int, reports[-1])) == 200_000 and int(reports[-1][1]) > 0

    wait_for(everything, "a report that accounts for all")
    slow.signal(signal.SIGINT).ends(130)
    rest.join(DEADLINE)
    stream.close()
    assert re.search(r"events in [\d.]+ s, \d+ dropped\n$", slow.stderr)


# -- ends: signals, closed pipes, no broker


@pytest.mark.parametrize(
    "arguments", [("sub", "events.#"), ("top",), ("top", "--json"), ("pub",), ("stats", "--connect-timeout", "30")]
)
def test_interrupt(cli, path, arguments):
    if arguments[0] != "stats":
        cli("broker", path).until("listening", "stdout")
    # A pipe that stays open and says nothing.
    read, write = os.pipe()
    child = cli(*arguments, "--path", path, stdin=read)
    time.sleep(1.5)
    child.signal(signal.SIGINT).ends(130)
    os.close(read)
    os.close(write)


def test_interrupt_while_nobody_reads(cli, broker):
    read, write = os.pipe()
    child = cli("sub", "events.#", stdout=write).until("subscribed")
    os.close(write)
    fed(cli, events(*range(20_000))).ends(0)
    time.sleep(0.5)
    child.signal(signal.SIGINT).ends(130)
    os.close(read)


@pytest.mark.parametrize(
    "arguments", [("sub", "events.#"), ("sub", "--json", "events.#"), ("top", "--interval", "0.1")]
)
def test_reader_that_goes(cli, broker, arguments):
    read, write = os.pipe()
    child = cli(*arguments, stdout=write)
    os.close(write)
    if arguments[0] == "sub":
        child.until("subscribed")
        fed(cli, events(1)).ends(0)
    with os.fdopen(read, "rb") as stream:
        assert stream.readline()
    # Noticed without another event.
    child.ends(141)
    assert "rror" not in child.stderr


def test_pipe_to_head(cli, broker, path):
    command = shlex.join(COMMAND)
    script = f"{command} sub events.# --quiet | head -1; echo ${{PIPESTATUS[0]}}"
    shell = subprocess.Popen(
        ["bash", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "DAEMONEYE_BROKER_SOCKET": str(path)},
    )
    wait_for(lambda: json.loads(cli("stats", "--json").ends(0).stdout)["active_subscribers"] == 1)
    fed(cli, events(1, 2, 3)).ends(0)
    out, err = shell.communicate(timeout=DEADLINE)
    first, code = out.decode().splitlines()
    assert "pid=1" in first
    assert (code, err) == ("141", b"")


@pytest.mark.parametrize("arguments", [("stats",), ("--help",), ("sub", "events.#", "--timeout", "1"), ("broker",)])
def test_closed_streams(cli, path, arguments):
    """stdout was closed before the command began."""
    if arguments != ("broker",):
        cli("broker", path).until("listening", "stdout")
    read, write = os.pipe()
    os.close(read)
    child = cli(*arguments, stdout=write)
    os.close(write)
    child.ends(141)


@pytest.mark.parametrize(
    ("redirection", "code", "printed"),
    [(">&-", 0, ""), ("2>&-", 0, "messages_published"), (">/dev/full", 1, "No space left"), ("<&- >&- 2>&-", 0, "")],
)
def test_streams_that_are_not_there(broker, path, redirection, code, printed):
    done = subprocess.run(
        ["sh", "-c", f"{shlex.join(COMMAND)} stats {redirection}"],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        env={**os.environ, "DAEMONEYE_BROKER_SOCKET": str(path)},
    )
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    assert printed in done.stdout + done.stderr
    assert printed or not done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [("sub", "events.#"), ("pub",), ("stats",), ("clients",), ("top", "--once")])
def test_no_broker(cli, path, arguments):
    began = time.monotonic()
    child = cli(*arguments, "--connect-timeout", "0.3").ends(5)
    assert time.monotonic() - began < 5
    assert str(path) in child.stderr
    assert child.stderr.count("\n") == 1


def test_broker_that_ends(cli, path):
    first = cli("broker", path).until("listening", "stdout")
    patient = cli("sub", "events.#", "--interval", "0.1").until("subscribed")
    other = cli("sub", "events.#", "--no-reconnect").until("subscribed")
    first.signal(signal.SIGTERM).ends(0)
    other.ends(5)
    patient.until("reconnecting")
    cli("broker", path).until("listening", "stdout")
    patient.until("connected\n").until("interrupted")
    wait_for(lambda: json.loads(cli("stats", "--json").ends(0).stdout)["active_subscribers"] == 1)
    fed(cli, events(9)).ends(0)
    patient.until("pid=9", "stdout")
    patient.signal(signal.SIGINT).ends(130)


def test_top_goes_on_when_the_broker_was_restarted(cli, path):
    first = cli("broker", path).until("listening", "stdout")
    child = cli("top", "--interval", "0.2", "--json").until("published", "stdout")
    first.signal(signal.SIGKILL)
    first.process.wait(DEADLINE)
    child.until("reconnecting")
    cli("broker", path).until("listening", "stdout")
    before = len(child.stdout.splitlines())
    wait_for(lambda: len(child.stdout.splitlines()) > before + 1, "rows")
    child.signal(signal.SIGINT).ends(130)


def test_frozen_broker(cli, broker):
    broker.signal(signal.SIGSTOP)
    try:
        cli("stats", "--connect-timeout", "0.5").ends(5)
    finally:
        broker.signal(signal.SIGCONT)


# -- stats, clients, top


async def test_numbers(cli, broker, path):
    async with EventBus.connect(path, config=ClientConfig(pool=False)) as bus, bus.subscribe("events.#"):
        await bus.publish(ProcessEvent(1, "sh"))
        await bus.flush()
        numbers = json.loads(cli("stats", "--json").ends(0, "").stdout)
        assert numbers["messages_published"] == numbers["messages_delivered"] == numbers["active_subscribers"] == 1
        assert dict(line.split() for line in cli("stats").ends(0, "").stdout.splitlines()).keys() == numbers.keys()
        assert json.loads(cli("clients", "--json").ends(0, "").stdout) == {"active_subscribers": 1, "active_topics": 1}
        assert "Broker.clients()" in cli("clients").ends(0).stderr
        watch = cli("top", "--interval", "0.5", "--json", "--once")
        row = json.loads(watch.ends(0, "").stdout)
        assert row["published_per_second"] == 0
        assert row["messages_published"] == 1


def test_top_on_a_terminal(cli, broker):
    controller, terminal = pty.openpty()
    child = cli("top", "--interval", "0.1", stdout=terminal)
    os.close(terminal)
    assert "uptime" in read_terminal(controller, child, until=b"\x1b[H\x1b[J")
    os.write(controller, b"\x03")  # it is not its controlling terminal: nothing but a character
    child.signal(signal.SIGINT).ends(130)
    os.close(controller)


def test_top_as_lines(cli, broker):
    lines = cli("top", "--interval", "0.1", "--count", "22").ends(0, "").stdout.splitlines()
    assert len(lines) == 24
    assert lines[0] == lines[21]
    assert "\x1b" not in "".join(lines)


# -- everywhere


@pytest.mark.parametrize(
    "env",
    [
        {"LANG": "C", "LC_ALL": "C"},
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii:strict"},
    ],
)
def test_locales(cli, broker, env):
    reader = cli("sub", "events.#", "--count", "2", env=env).until("subscribed")
    fed(cli, events(1).replace('"sh"', '"\N{SNOWMAN}"')).ends(0)
    cli("pub", "process", "--pid", "2", "--name", b"\xff\xe2\x98\x83".decode("utf-8", "surrogateescape"), env=env).ends(
        0
    )
    text = reader.ends(0).stdout
    assert "\N{SNOWMAN} pid=1" in text or "\\u2603 pid=1" in text
    cli("sub", "events.\N{SNOWMAN}", env=env).ends(2)


def test_help_and_version(cli):
    for command in ([], ["broker"], ["sub"], ["pub"], ["pub", "process"], ["stats"], ["clients"], ["top"]):
        child = cli(*command, "--help").ends(0, "")
        assert child.stdout.startswith("usage: daemoneye-eventbus")
        if command != ["pub", "process"]:
            assert "exit codes:" in child.stdout
    assert cli("--version").ends(0, "").stdout.startswith("daemoneye-eventbus ")
    cli().ends(2)
    cli("nothing").ends(2)


def test_script_is_installed():
    script = Path(sys.executable).parent / "daemoneye-eventbus"
    if not script.exists():
        pytest.skip("the package is not installed with its script")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert (done.returncode, done.stderr) == (0, "")
