"""`stats`, `clients` and `top`: what they show of a broker, to a program, in a pipe and on a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest

from commands import COMMAND, DEADLINE, events, publish_lines, read_terminal, wait_for
from daemoneye_eventbus import ClientConfig, EventBus, ProcessEvent
from support import NOBODY, on_a_terminal_of_its_own

pytest_plugins = ["commands"]
pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals, pipes and terminals of Unix"),
    pytest.mark.limit(90),
]
EVIL = "ev il\x1b[31m\N{SNOWMAN}"


def rows(text):
    """A table as dictionaries."""
    head, *lines = [line.split(None, 9) for line in text.splitlines()]
    return [dict(zip(head, line, strict=True)) for line in lines]


async def test_numbers(cli, cli_broker, path):
    async with EventBus.connect(path, config=ClientConfig(pool=False)) as bus, bus.subscribe("events.#"):
        await bus.publish(ProcessEvent(1, "sh"))
        await bus.flush()
        numbers = json.loads(cli("stats", "--json").ends(0, "").stdout)
        assert numbers["messages_published"] == numbers["messages_delivered"] == numbers["active_subscribers"] == 1
        # The first of these commands may still be on its way out.
        assert numbers["connections"] in {2, 3}
        assert (numbers["dropped"], numbers["refused"]) == ({}, {})
        lines = dict(line.split() for line in cli("stats").ends(0, "").stdout.splitlines())
        assert lines.keys() == numbers.keys() - {"dropped", "refused", "refused_uids"}
        row = json.loads(cli("top", "--interval", "0.5", "--json", "--once").ends(0, "").stdout)
        assert row["published_per_second"] == row["dropped_per_second"] == 0
        assert row["messages_published"] == 1
        assert {one["name"] for one in row["clients"]} >= {"", "top"}


@pytest.mark.parametrize("command", [["stats"], ["clients"], ["top", "--once", "--interval", "0.1"]], ids="".join)
def test_the_path_is_an_argument_or_an_option(cli, cli_broker, path, command):
    nowhere = {"DAEMONEYE_BROKER_SOCKET": ""}
    assert cli(*command, path, "--json", env=nowhere).ends(0, "").stdout
    assert cli(*command, "--json", "--path", path, env=nowhere).ends(0, "").stdout
    both = cli(*command, path, "--path", path).ends(2)
    assert "not allowed with argument" in both.stderr


async def test_drops_are_told_by_reason(cli, cli_broker, path, raw):
    reader = raw(str(path))
    reader.connect("slow", queue_messages=1)
    reader.subscribe(1, "events.#")
    async with EventBus.connect(path) as bus:
        for _ in range(8):
            await bus.publish(ProcessEvent(1, "x" * 400_000))
        await bus.flush()
    raw(str(path)).write(b"\0\0\0\0")
    wait_for(lambda: "refused." in cli("stats").ends(0, "").stdout)
    lines = dict(line.split() for line in cli("stats").ends(0, "").stdout.splitlines())
    numbers = json.loads(cli("stats", "--json").ends(0).stdout)
    assert int(lines["dropped.overflow"]) == numbers["dropped"]["overflow"] > 0
    (slow,) = [row for row in rows(cli("clients").ends(0, "").stdout) if row["name"] == "slow"]
    assert slow["dropped"] == lines["dropped.overflow"]
    assert int(slow["queued"]) >= 1
    head, values = cli("top", "--once", "--interval", "0.1").ends(0, "").stdout.splitlines()
    assert dict(zip(head.split(), values.split(), strict=True))["dropped"] == lines["dropped.overflow"]
    assert len(head) < 80


def test_clients_are_lines(cli, cli_broker, path, raw):
    raw(str(path)).connect(EVIL)
    raw(str(path)).connect("")
    reader = cli("sub", "events.#").until("subscribed")
    publish_lines(cli, events(1, 2, 3)).ends(0)
    reader.until("pid=3", "stdout")
    found = rows(cli("clients").ends(0, "").stdout)
    by_name = {row["name"]: row for row in found}
    assert by_name["sub"] | {"id": ""} == {
        "id": "",
        "pid": str(reader.process.pid),
        "uid": str(os.getuid()),
        "peer": "native",
        "subs": "1",
        "queued": "0",
        "published": "0",
        "delivered": "3",
        "dropped": "0",
        "name": "sub",
    }
    assert "clients" in by_name
    assert "-" in by_name
    assert '"ev il\\x1b[31m\N{SNOWMAN}"' in by_name
    told = [json.loads(line) for line in cli("clients", "--json").ends(0, "").stdout.splitlines()]
    assert {one["name"] for one in told} >= {"sub", "clients", "", EVIL}
    (sub,) = [one for one in told if one["name"] == "sub"]
    assert sub["id"].startswith(by_name["sub"]["id"])
    assert sub["delivered"] == 3


@pytest.mark.usefixtures("as_root")
def test_others_than_the_brokers_user(cli, open_folder):
    path = open_folder / "b.sock"
    cli(
        *("broker", path, "--allowed-uids", NOBODY, "--socket-mode", "0660", "--socket-group", NOBODY),
    ).until("listening", "stdout")
    code = "import sys; from daemoneye_eventbus._cli import main; sys.exit(main(sys.argv[1:]))"

    def run(*arguments):
        drop = f"import os; os.setgroups([]); os.setresgid(*[{NOBODY}] * 3); os.setresuid(*[{NOBODY}] * 3)"
        # Imported first: the interpreter may live where that user cannot read.
        early = "import daemoneye_eventbus._cli, asyncio.base_events, encodings.ascii, concurrent.futures.thread"
        return subprocess.run(
            [sys.executable, "-c", f"{early}; {drop}; {code}", *arguments, "--path", str(path)],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    stats = run("stats")
    assert (stats.returncode, stats.stdout.count("\n")) == (0, 5)
    assert "not all: " in stats.stderr
    assert "own user" in stats.stderr
    clients = run("clients")
    assert (clients.returncode, clients.stdout, clients.stderr.count("\n")) == (4, "", 1)

    def refused():
        return json.loads(cli("stats", "--json", "--path", path).ends(0).stdout)["refused"]["not_permitted"]

    before = refused()
    top = run("top", "--count", "3", "--interval", "0.1", "--json")
    assert (top.returncode, top.stdout.count("\n")) == (0, 3)
    # Asked once more each time, it hid strangers in the broker's log, and rang an alarm.
    assert refused() == before + 1
    top = run("top", "--once", "--interval", "0.1", "--json")
    assert top.returncode == 0
    assert "clients" not in json.loads(top.stdout)
    line = run("top", "--once", "--interval", "0.1").stdout.splitlines()[1]
    assert line.split()[-3:] == ["-", "-", "-"]
    doctor = run("doctor")
    assert doctor.returncode == 0
    assert "own user" in doctor.stdout


def test_top_as_lines(cli, cli_broker):
    lines = cli("top", "--interval", "0.1", "--count", "22").ends(0, "").stdout.splitlines()
    assert len(lines) == 24
    assert lines[0] == lines[21]
    assert "\x1b" not in "".join(lines)
    assert all(len(line) < 80 for line in lines)


def test_top_shows_rates_of_each_client(cli, cli_broker):
    reader = cli("sub", "events.#", "--quiet")
    read, write = os.pipe()
    publisher = cli("pub", stdin=read)
    os.close(read)
    watch = cli("top", "--interval", "0.5", "--json")
    for child in (reader, publisher):
        # In a row before it is busy, so that what it does has a rate.
        watch.until(f'"pid": {child.process.pid},', "stdout")
    watch.until('"active_subscribers": 1', "stdout")
    for _ in range(40):
        os.write(write, events(*range(100)).encode())
        time.sleep(0.05)
    os.close(write)
    publisher.ends(0)
    watch.signal(signal.SIGINT).ends(130)
    found = [json.loads(line) for line in watch.stdout.splitlines()]

    def rate(row, child=publisher, of="published_per_second"):
        # None in the first row that shows a client.
        return max((one[of] or 0 for one in row["clients"] if one["pid"] == child.process.pid), default=0)

    busy = max(found, key=rate)
    clients = {one["pid"]: one for one in busy["clients"]}
    assert busy["published_per_second"] > 200
    assert rate(busy) > 200
    assert clients[publisher.process.pid]["delivered_per_second"] == 0
    assert rate(busy, reader, "delivered_per_second") > 200


def terminal_of(width, height):
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", height, width, 0, 0))
    return controller, terminal


def test_top_on_a_terminal(cli, cli_broker, path, raw):
    raw(str(path)).connect(EVIL + "x" * 100)
    controller, terminal = terminal_of(80, 24)
    child = cli("top", "--interval", "0.1", stdout=terminal)
    shown = read_terminal(controller, child, until=b"\x1b[J\x1b[H")
    assert "up 00:00:0" in shown
    assert all(word in shown for word in ("published", "delivered", "dropped", "refused", "queued", "connection"))
    assert "ev il\\x1b[31m" in shown
    lines = [re.sub(r"\x1b\[[?0-9]*[a-zA-Z]", "", line) for line in shown.split("\r\n")]
    assert max(map(len, lines)) <= 80
    assert "native" in shown
    # Drawn again when it becomes smaller, and cut where it does not fit.
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 10, 40, 0, 0))
    os.close(terminal)
    child.signal(signal.SIGWINCH)
    read_terminal(controller, child, until="\N{HORIZONTAL ELLIPSIS}".encode())
    child.signal(signal.SIGINT).ends(130)
    # The cursor is back, and long lines are wrapped again.
    assert read_terminal(controller, child).endswith("\x1b[?7h\x1b[?25h")


def test_top_on_a_terminal_that_obeys_nothing_prints_lines(cli, cli_broker):
    controller, terminal = terminal_of(80, 24)
    child = cli("top", "--once", "--interval", "0.1", stdout=terminal, env={"TERM": "dumb"})
    os.close(terminal)
    shown = read_terminal(controller, child)
    assert shown.startswith("    uptime ")
    assert "\x1b" not in shown


@pytest.mark.parametrize("height", [2, 5, 8])
def test_top_stays_in_place_on_a_small_terminal(cli, cli_broker, path, raw, height):
    """What did not fit went beyond the last row and moved the rest up, each time."""
    others = [raw(str(path)) for _ in range(5)]
    for number, other in enumerate(others):
        other.connect(f"client{number}")
    controller, terminal = terminal_of(80, height)
    child = cli("top", "--interval", "0.1", "--count", "2", stdout=terminal)
    os.close(terminal)
    first, second = read_terminal(controller, child).split("\x1b[H")[1:]
    child.ends(0)
    assert "q ends" in first
    assert "q ends" in second
    assert (first.count("\n"), second.count("\n")) == (height - 1, height - 1)


def on_a_terminal(path, script, keys):
    """What a shell shows on a terminal of its own that runs ``script``; each of ``keys`` is pressed after its text.

    A signal among them goes to what runs in the foreground.
    """
    environment = os.environ | {"DAEMONEYE_BROKER_SOCKET": str(path), "TERM": "xterm"}
    top = f"{shlex.join(COMMAND)} top --interval 0.2"
    pid, controller = on_a_terminal_of_its_own(["/bin/sh", "-c", script.format(top=top)], environment)
    shown, looked, waiting = b"", 0, list(keys)
    deadline = time.monotonic() + DEADLINE
    try:
        while select.select([controller], [], [], max(0, deadline - time.monotonic()))[0]:
            try:
                chunk = os.read(controller, 65536)
            except OSError:
                break
            if not chunk:
                break
            shown += chunk
            while waiting and (found := shown.find(waiting[0][0], looked)) >= 0:
                looked = found + len(waiting[0][0])
                _, key = waiting.pop(0)
                if isinstance(key, signal.Signals):
                    os.killpg(os.tcgetpgrp(controller), key)
                else:
                    os.write(controller, key)
        else:
            os.killpg(pid, signal.SIGKILL)
            raise AssertionError(shown)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(controller)
    assert not waiting, shown
    assert os.waitstatus_to_exitcode(status) == 0
    return shown.decode()


def modes(text):
    """What ``stty -a`` says of reading lines and showing keys, each time that it was asked."""
    return re.findall(r"-?\b(?:icanon|echo)\b", text)


GIVEN_BACK = "\x1b[?7h\x1b[?25h"


def test_q_ends_top_and_leaves_the_terminal_as_it_was(cli_broker, path):
    text = on_a_terminal(path, "stty -a; {top}; echo code $?; stty -a", [(b"q ends", b"xq")])
    assert "code 0" in text
    assert "xq" not in text, "keys are not echoed"
    assert modes(text) == ["icanon", "echo"] * 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_top_that_is_killed_leaves_the_terminal_as_it_was(cli_broker, path, number):
    text = on_a_terminal(path, "set -m; {top}; echo code $?; stty -a", [(b"q ends", number)])
    assert f"code {128 + number}" in text
    assert GIVEN_BACK in text
    assert modes(text) == ["icanon", "echo"]


def test_top_that_is_stopped_gives_the_terminal_to_the_shell_and_takes_it_again(cli_broker, path):
    script = "set -m; {top}; echo code $?; fg; echo code $?; stty -a"
    text = on_a_terminal(path, script, [(b"q ends", b"\x1a"), (b"code ", b""), (b"q ends", b"xq")])
    before, between, after = text.split("code ")
    assert GIVEN_BACK in before
    assert after.startswith("0\r\n")
    assert "xq" not in between
    assert GIVEN_BACK in between
    assert modes(after) == ["icanon", "echo"]


def test_top_that_has_no_shell_to_stop_for_goes_on(cli_broker, path):
    text = on_a_terminal(path, "exec {top}", [(b"q ends", b"\x1a"), (GIVEN_BACK.encode(), b""), (b"q ends", b"xq")])
    assert text.endswith(GIVEN_BACK)
    assert "xq" not in text


def test_top_says_when_the_broker_has_gone_and_is_back(cli, path):
    first = cli("broker", path).until("listening", "stdout")
    controller, terminal = terminal_of(80, 24)
    child = cli("top", "--interval", "0.1", stdout=terminal)
    os.close(terminal)
    read_terminal(controller, child, until=b"q ends")
    first.signal(signal.SIGKILL)
    child.until("reconnecting")
    # Several times the interval: it goes on trying, and says so once.
    time.sleep(1)
    # What it showed of the first broker.
    while select.select([controller], [], [], 0)[0]:
        os.read(controller, 65536)
    cli("broker", path).until("listening", "stdout")
    read_terminal(controller, child, until=b"up 00:00:")
    child.signal(signal.SIGTERM)
    child.process.wait(DEADLINE)
    os.close(controller)
    assert child.stderr == "daemoneye-eventbus top: reconnecting\n"
