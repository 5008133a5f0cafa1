"""How commands end, and what they show meanwhile: signals, closed pipes, no broker, locales."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from commands import COMMAND, DEADLINE, events, publish_lines, unread, wait_for
from daemoneye_eventbus import EventBus

pytest_plugins = ["commands"]
pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals, pipes and terminals of Unix"),
    pytest.mark.limit(90),
]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
@pytest.mark.parametrize(
    "arguments",
    [("sub", "events.#"), ("top",), ("top", "--json"), ("pub",), ("decode", "--live")],
)
async def test_interrupt(cli, cli_broker, path, arguments, number, code):
    # A pipe that stays open and says nothing.
    read, write = os.pipe()
    async with EventBus.connect(path) as bus:
        child = cli(*arguments, "--path", path, stdin=read)
        async with asyncio.timeout(DEADLINE):
            while arguments[0] not in {client.name for client in await bus.clients()}:
                await asyncio.sleep(0.02)
        child.signal(number).ends(code)
    os.close(read)
    os.close(write)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_pub_that_is_told_to_end_sends_what_it_has_read(cli, path, number, code):
    """What it took from a pipe is nowhere else. It was gone at SIGTERM, without a word, and half of it at SIGINT."""
    cli("broker", path, "--queue-messages", "50", "--stall-timeout", "60").until("listening", "stdout")
    reader = cli("sub", "events.#", "--quiet", "--overflow", "block")
    wait_for(lambda: json.loads(cli("stats", "--json").ends(0).stdout)["active_subscribers"] == 1)
    reader.signal(signal.SIGSTOP)
    line = events(1).encode().replace(b"sh", b"n" * (4096 - len(events(1)) + 2))
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    child = cli("pub", "--congestion", "block", stdin=reading)
    written = 0
    taken_at = time.monotonic()
    while time.monotonic() < taken_at + 1:
        # Until it waits for the reader, with everything full.
        try:
            written += os.write(writing, line)
            taken_at = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
    child.signal(number)
    if number == signal.SIGTERM:
        # As `timeout` does: to the process, then to its group.
        child.signal(number)
    reader.signal(signal.SIGCONT)
    child.process.wait(DEADLINE)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        left = len(pipe.read())
    read = (written - left) // len(line)
    child.ends(code, f"daemoneye-eventbus pub: published {read} events\n")
    assert json.loads(cli("stats", "--json").ends(0).stdout)["messages_published"] == read


def test_pub_that_is_told_to_end_says_what_it_could_not_send(cli, path):
    broker = cli("broker", path, "--queue-messages", "50", "--stall-timeout", "60").until("listening", "stdout")
    child = cli("pub", "--congestion", "block", stdin=subprocess.PIPE)
    child.process.stdin.write(events(1).encode())
    child.process.stdin.flush()
    wait_for(lambda: json.loads(cli("stats", "--json").ends(0).stdout)["messages_published"] == 1)
    broker.signal(signal.SIGSTOP)
    child.process.stdin.write(events(2, 3).encode())
    child.process.stdin.flush()
    wait_for(lambda: unread(child.process.stdin) == 0, "read")
    began = time.monotonic()
    # Nor is it held up by its bus, which with --congestion block has more patience when it is closed.
    child.signal(signal.SIGTERM).ends(-signal.SIGTERM)
    assert 4 < time.monotonic() - began < 9
    broker.signal(signal.SIGCONT)
    assert child.stderr.splitlines() == [
        "daemoneye-eventbus pub: published 0 events, 3 unconfirmed",
        "daemoneye-eventbus pub: the broker did not confirm what was published",
    ]


@pytest.mark.parametrize("arguments", [("sub", "events.#"), ("top", "--json")])
def test_a_command_that_is_told_to_end_waits_seconds_for_a_frozen_broker(cli, cli_broker, arguments):
    child = cli(*arguments).until(*(("subscribed",) if arguments[0] == "sub" else ("published", "stdout")))
    cli_broker.signal(signal.SIGSTOP)
    began = time.monotonic()
    child.signal(signal.SIGTERM).ends(-signal.SIGTERM)
    assert time.monotonic() - began < 6
    cli_broker.signal(signal.SIGCONT)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_sub_that_is_told_to_end_says_how_much_it_had(cli, cli_broker, number, code):
    child = cli("sub", "events.#").until("subscribed")
    publish_lines(cli, events(1, 2, 3)).ends(0)
    child.until("pid=3", "stdout").signal(number).ends(code)
    assert re.fullmatch(r"daemoneye-eventbus sub: 3 events in \d+\.\d s, 0 dropped", child.stderr.splitlines()[-1])


def test_a_second_interrupt_ends_at_once_and_quietly(cli, cli_broker, path):
    # Whether it meets the bus or the interpreter at its end is chance, hence several pauses.
    for pause in (0.0, 0.005, 0.01, 0.02, 0.03, 0.05):
        child = cli("sub", "events.#", "--path", path).until("subscribed")
        child.signal(signal.SIGINT)
        time.sleep(pause)
        child.signal(signal.SIGINT).ends(130)


@pytest.mark.parametrize("module", ["argparse", "daemoneye_eventbus._cli", "daemoneye_eventbus._cli.top"])
def test_interrupt_while_a_command_is_imported(cli, folder, module):
    """It was a traceback. A death by the signal is what a shell shows as 130."""
    (folder / "sitecustomize.py").write_text(
        "import signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r} and 'daemoneye_eventbus' in sys.modules:\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
    )
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    cli("stats", env={"PYTHONPATH": path}).ends(-signal.SIGINT, "")


def test_a_file_that_is_not_there(cli, path):
    told = "daemoneye-eventbus pub: /not/there: No such file or directory\n"
    cli("pub", "--file", "/not/there", "--path", path).ends(1, told)


@pytest.mark.parametrize("command", ["stats", "clients", "sub"])
def test_interrupt_while_a_broker_is_silent(cli, path, command):
    arguments = ("events.#",) if command == "sub" else ()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(DEADLINE)
        child = cli(command, *arguments, "--path", path, "--connect-timeout", "30")
        with listener.accept()[0]:
            child.signal(signal.SIGINT).ends(130)


def test_interrupt_while_nobody_reads(cli, cli_broker):
    read, write = os.pipe()
    child = cli("sub", "events.#", stdout=write).until("subscribed")
    os.close(write)
    publish_lines(cli, events(*range(20_000))).ends(0)
    time.sleep(0.5)
    child.signal(signal.SIGINT).ends(130)
    os.close(read)


@pytest.mark.parametrize(
    "arguments", [("sub", "events.#"), ("sub", "--json", "events.#"), ("top", "--interval", "0.1")]
)
def test_a_reader_of_the_output_that_closes_it(cli, cli_broker, arguments):
    read, write = os.pipe()
    child = cli(*arguments, stdout=write)
    os.close(write)
    if arguments[0] == "sub":
        child.until("subscribed")
        publish_lines(cli, events(1)).ends(0)
    with os.fdopen(read, "rb") as stream:
        assert stream.readline()
    # Noticed without another event.
    child.ends(141)
    assert "rror" not in child.stderr


def test_pipe_to_head(cli, cli_broker, path):
    command = shlex.join(COMMAND)
    script = f"{command} sub events.# --quiet | head -1; echo ${{PIPESTATUS[0]}}"
    shell = subprocess.Popen(
        ["bash", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "DAEMONEYE_BROKER_SOCKET": str(path)},
    )
    wait_for(lambda: json.loads(cli("stats", "--json").ends(0).stdout)["active_subscribers"] == 1)
    publish_lines(cli, events(1, 2, 3)).ends(0)
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
def test_missing_standard_streams(cli_broker, path, redirection, code, printed):
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


@pytest.mark.parametrize(
    "arguments", [("sub", "events.#"), ("pub",), ("stats",), ("clients",), ("top", "--once"), ("decode", "--live")]
)
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
    publish_lines(cli, events(9)).ends(0)
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


def test_frozen_broker(cli, cli_broker):
    cli_broker.signal(signal.SIGSTOP)
    try:
        cli("stats", "--connect-timeout", "0.5").ends(5)
    finally:
        cli_broker.signal(signal.SIGCONT)


@pytest.mark.parametrize(
    "env",
    [
        {"LANG": "C", "LC_ALL": "C"},
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii:strict"},
    ],
)
def test_locales(cli, cli_broker, env):
    reader = cli("sub", "events.#", "--count", "2", env=env).until("subscribed")
    publish_lines(cli, events(1).replace('"sh"', '"\N{SNOWMAN}"')).ends(0)
    cli("pub", "process", "--pid", "2", "--name", b"\xff\xe2\x98\x83".decode("utf-8", "surrogateescape"), env=env).ends(
        0
    )
    text = reader.ends(0).stdout
    assert "\N{SNOWMAN} pid=1" in text or "\\u2603 pid=1" in text
    cli("sub", "events.\N{SNOWMAN}", env=env).ends(2)


def test_help_and_version(cli):
    for command in (
        [],
        ["broker"],
        ["sub"],
        ["pub"],
        ["pub", "process"],
        ["stats"],
        ["clients"],
        ["top"],
        ["decode"],
        ["doctor"],
        ["demo"],
    ):
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


def test_documented_codes_are_those_of_the_help(cli):
    said = dict(re.findall(r"^  (\d+) +(.*)$", cli("--help", env={"COLUMNS": "200"}).ends(0).stdout, re.MULTILINE))
    text = (Path(__file__).parent.parent / "docs/cli.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", text, re.MULTILINE)
    assert {code: meaning.replace("`", "").replace("\\", "") for code, meaning in rows} == {
        code: meaning.replace("`", "") for code, meaning in said.items()
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("sub --nope", "sub: unrecognized arguments: --nope; see daemoneye-eventbus sub --help"),
        ("sub --nope --type process --neither=5", "sub: unrecognized arguments: --nope --neither=5; see"),
        ("sub", "sub: the following arguments are required: PATTERN; see"),
        ("sub -- --nope", "sub: Topic error: "),
        ("sub events.# /run/x.sock", "/run/x.sock; give the broker's path with --path\n"),
        ("decode --live --subscribe /run/x.sock", "/run/x.sock; give the broker's path with --path\n"),
        (
            "pub process --quiet --nope",
            "pub process: unrecognized arguments: --nope; see daemoneye-eventbus pub process --",
        ),
        (
            "pub --nope process --pid 1 --name x",
            "pub: unrecognized arguments: --nope; see daemoneye-eventbus pub --help",
        ),
        (
            "pub process --pid 1 --name x --start-time-ns 5",
            "pub process: unrecognized arguments: --start-time-ns; see daemoneye-eventbus pub process --help",
        ),
        ("pub process --pid 1", "pub process: the following arguments are required: --name; see"),
        ("decode --nope --live", "decode: unrecognized arguments: --nope; see daemoneye-eventbus decode --help"),
        ("stats one extra", "stats: unrecognized arguments: extra; see daemoneye-eventbus stats --help"),
        ("--nope", "daemoneye-eventbus: unrecognized arguments: --nope; see daemoneye-eventbus --help"),
    ],
)
def test_an_unknown_option_is_named(cli, line, said):
    """Whatever else is missing: it may be missing because of the misspelling. So is what stands in a wrong place."""
    assert said in cli(*line.split()).ends(2).stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("doctor", ""), "doctor: the path is empty; give the broker's socket"),
        (("broker", ""), "broker: the path is empty; "),
        (("stats", "--path", ""), "stats: the path is empty; "),
        (("sub", "events.#", "--metadata", "a=1", "--metadata", "a=2"), "sub: --metadata: 'a' is given twice"),
        (("sub", "events.#", "--any-tag", "a=1", "--any-tag", "a=1"), "sub: --any-tag: 'a' is given twice"),
        (("pub", "process", "--pid=1", "--name=x", "--metadata=a=", "--metadata=a=2"), "pub: --metadata: 'a' is given"),
        (("stats", "--connect-timeout", "1000000"), "stats: --connect-timeout: must be between 0 and 604800 seconds"),
        (("broker", "--max-connections", "1_0"), "broker: argument --max-connections: '1_0' is no integer"),
        (
            ("broker", "--original-patterns", "events.a,events.b", "--max-patterns-per-client", "1"),
            "broker: --original-patterns: 2 are above --max-patterns-per-client (1)",
        ),
        (("broker", "--allowed-uids", "1_0"), "broker: argument --allowed-uids: there is no user '1_0'"),
    ],
)
def test_what_cannot_be_meant_is_refused(cli, cli_broker, line, said):
    assert said in cli(*line).ends(2).stderr


@pytest.mark.parametrize("words", [("stats",), ("sub", "events.#"), ("pub", "process", "--pid", "1", "--name", "x")])
def test_a_broker_that_hangs_is_said_to(cli, cli_broker, words):
    """It was said to start one there, and to set what no command has."""
    cli_broker.signal(signal.SIGSTOP)
    try:
        said = cli(*words, "--connect-timeout", "0.3").ends(5).stderr
    finally:
        cli_broker.signal(signal.SIGCONT)
    assert "did not answer CONNECT: a broker that hangs, or " in said
    assert "start one" not in said
    assert "peer=" not in said


@pytest.mark.parametrize("command", ["stats", "doctor", "--help"])
def test_a_full_disk_is_one_line(cli, cli_broker, command):
    with open("/dev/full", "wb") as full:
        child = cli(command, stdout=full)
        name = "daemoneye-eventbus" if command.startswith("-") else f"daemoneye-eventbus {command}"
        child.ends(1, f"{name}: stdout: No space left on device\n")


@pytest.mark.parametrize("words", [("--json",), ()])
def test_a_pipe_that_does_not_block_gets_whole_lines(cli, cli_broker, words):
    """Whoever shares a pipe may set it so for all; what it did not take at once was lost, within lines."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    reader = cli("sub", "events.#", "--count", "3000", *words, stdout=writing).until("subscribed")
    os.close(writing)
    publish_lines(cli, "".join(events(*range(1, 3001), topic="events.process.new"))).ends(0)
    # More than a pipe holds waits by now.
    wait_for(lambda: select.select([reading], [], [], 0)[0], "a full pipe")
    time.sleep(0.5)
    with open(reading, "rb") as output:
        lines = output.read().splitlines()
    reader.ends(0)
    assert len(lines) == 3000
    if words:
        assert [json.loads(line)["fields"]["pid"] for line in lines] == list(range(1, 3001))
    else:
        assert all(line.endswith(b" sh pid=%d" % pid) for pid, line in enumerate(lines, 1)), lines[:3]
