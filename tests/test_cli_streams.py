"""Streams that take nothing: a pipe that is full while its reader sleeps, and a disk that is full."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time

import pytest

from commands import DEADLINE, events, publish_lines, unread, wait_for
from raw import framed

pytest_plugins = ["commands"]
pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="pipes of Unix"),
    pytest.mark.limit(90),
]

FULL = "x" * 79 + "\n"


@pytest.fixture
def full_pipe():
    """Its two ends; nothing more fits in."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writing, FULL.encode())
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writing, b"\n")
    os.set_blocking(writing, True)
    yield reading, writing
    os.close(reading)
    os.close(writing)


def read_all(reading, child):
    """What comes until the child is over, without what had filled the pipe."""
    os.set_blocking(reading, False)
    found = b""
    ends = time.monotonic() + DEADLINE
    while True:
        assert time.monotonic() < ends
        over = child.process.poll() is not None
        try:
            found += os.read(reading, 2**20)
        except BlockingIOError:
            if over:
                return found.decode().replace(FULL, "").lstrip("\n")
            time.sleep(0.01)


def send_nonsense(path):
    """The broker logs it."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(DEADLINE)
        peer.connect(path)
        peer.sendall(framed(b"nonsense"))
        assert b"ERR" in peer.recv(4096)


def ends_soon(child, code):
    """The broker's own time to end is --drain, 2 s."""
    began = time.monotonic()
    child.ends(code)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("stream", ["stderr", "stdout"])
def test_a_broker_whose_stream_is_full_is_ready_and_stops(cli, path, folder, full_pipe, stream, number):
    """Every line on the event loop waited for the reader, and the signals waited for the event loop."""
    address = str(folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(DEADLINE)
        settings = {"env": {"NOTIFY_SOCKET": address}, stream: full_pipe[1]}
        child = cli("broker", path, "--log-level", "info", **settings)
        assert manager.recv(4096).startswith(b"READY=1\n")
        send_nonsense(path)
        child.signal(number)
        assert manager.recv(4096) == b"STOPPING=1"
        ends_soon(child, 0)
    assert not os.path.exists(path)


def test_what_a_full_pipe_did_not_take_comes_once_it_is_read(cli, path, full_pipe):
    child = cli("broker", path, "--log-level", "info", stderr=full_pipe[1]).until("listening", "stdout")
    send_nonsense(path)
    child.signal(signal.SIGTERM)
    lines = read_all(full_pipe[0], child).splitlines()
    child.ends(0)
    assert lines[0].startswith("daemoneye-eventbus broker: INFO: daemoneye_eventbus.broker: listening path=")
    assert "reason=protocol" in lines[1]
    assert lines[-1] == "daemoneye-eventbus broker: INFO: daemoneye_eventbus.broker: stopped"


def test_what_pub_says_waits_for_its_reader(cli, cli_broker, full_pipe):
    """Most of it was thrown away uncounted, the total as well, when the reader paused as a pager does."""
    bad = 20_000
    child = publish_lines(cli, b"x\n" * bad + events(1).encode(), "--keep-going", stderr=full_pipe[1])
    with pytest.raises(subprocess.TimeoutExpired):
        child.process.wait(4)
    *lines, total = read_all(full_pipe[0], child).splitlines()
    child.ends(1)
    assert total == f"daemoneye-eventbus pub: published 1 event, {bad} bad lines"
    assert len(lines) == bad
    for number, line in enumerate(lines, 1):
        assert line.startswith(f"daemoneye-eventbus pub: line {number}: not JSON"), line


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_ends_the_wait_for_a_reader_of_stderr(cli, cli_broker, full_pipe, number, code):
    child = cli("pub", "--keep-going", stdin=subprocess.PIPE, stderr=full_pipe[1])
    child.process.stdin.write(b"x\n" + events(1).encode())
    child.process.stdin.flush()
    wait_for(lambda: unread(child.process.stdin) == 0, "read")
    reader = cli("sub", "events.#", stderr=full_pipe[1])
    wait_for(lambda: json.loads(cli("stats", "--json").ends(0).stdout)["active_subscribers"] == 1)
    for one in (child, reader):
        one.signal(number)
        ends_soon(one, code)
    assert json.loads(cli("stats", "--json").ends(0).stdout)["messages_published"] == 1


def test_lines_beyond_what_waits_at_the_end_are_counted_in_their_place(cli, path, full_pipe):
    cli("broker", path, "--queue-messages", "50", "--stall-timeout", "60").until("listening", "stdout")
    reader = cli("sub", "events.#", "--quiet", "--overflow", "block")
    wait_for(lambda: json.loads(cli("stats", "--json").ends(0).stdout)["active_subscribers"] == 1)
    reader.signal(signal.SIGSTOP)
    child = cli("pub", "--keep-going", "--congestion", "block", stdin=subprocess.PIPE, stderr=full_pipe[1])
    bad, good = 20_000, 1500
    child.process.stdin.write(b"x\n" * bad + events(*range(good)).encode())
    child.process.stdin.flush()
    wait_for(lambda: unread(child.process.stdin) == 0, "read")
    child.signal(signal.SIGTERM)
    # Behind the bad lines, so that all have been told; and for the rest it waits.
    wait_for(lambda: json.loads(cli("stats", "--json").ends(0).stdout)["messages_published"])
    reader.signal(signal.SIGCONT)
    *lines, total = read_all(full_pipe[0], child).splitlines()
    child.ends(-signal.SIGTERM)
    assert total == f"daemoneye-eventbus pub: published {good} events, {bad} bad lines"
    told = lines.pop()
    lost = re.fullmatch(r"daemoneye-eventbus: (\d+) lines lost here, which stderr did not take", told)
    assert lost is not None, told
    assert len(lines) + int(lost[1]) == bad
    assert 10_000 < len(lines)
    for number, line in enumerate(lines, 1):
        assert line.startswith(f"daemoneye-eventbus pub: line {number}: not JSON"), line


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("pub",), 0),
        (("sub", "events.#", "--timeout", "0.1"), 0),
        (("sub", "events.#", "--count", "1", "--timeout", "0.1"), 6),
        (("decode", "02000000fffe"), 1),
        (("stats", "--path", "/not/there", "--connect-timeout", "0.1"), 5),
        (("stats", "--nope"), 2),
    ],
)
@pytest.mark.parametrize("kind", ["pipe", "disk"])
def test_a_stderr_that_cannot_be_written_changes_no_exit_code(cli, cli_broker, arguments, code, kind):
    """With a full disk all of these were 120, which no table has."""
    reading, closed = os.pipe()
    os.close(reading)
    with open("/dev/full", "wb") as disk, open(closed, "wb") as pipe:
        child = cli(*arguments, stdin=subprocess.PIPE, stderr=pipe if kind == "pipe" else disk)
    if arguments == ("pub",):
        child.process.stdin.write(events(1).encode())
    child.process.stdin.close()
    ends_soon(child, code)
    if arguments == ("pub",):
        assert json.loads(cli("stats", "--json").ends(0).stdout)["messages_published"] == 1


def test_a_broker_that_could_not_log_ends_with_zero(cli, path):
    with open("/dev/full", "wb") as disk:
        child = cli("broker", path, "--log-level", "info", stderr=disk).until("listening", "stdout")
    publish_lines(cli, events(1)).ends(0)
    child.signal(signal.SIGTERM).ends(0)


def test_lines_that_a_full_disk_did_not_take_are_counted_when_it_does(cli, path, folder):
    """The limit of a file's size stands for the disk's."""
    log = folder / "log"
    with log.open("ab") as file:
        child = cli("broker", path, "--log-level", "info", stderr=file).until("listening", "stdout")
    wait_for(lambda: log.stat().st_size)
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("the limits of another process are set on Linux")
    _, most = resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE, (log.stat().st_size + 10, most))
    send_nonsense(path)
    wait_for(lambda: log.read_bytes()[-1:] != b"\n", "a torn line")
    resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE, (most, most))
    child.signal(signal.SIGTERM).ends(0)
    lines = log.read_text().splitlines()
    assert lines[0].startswith("daemoneye-eventbus broker: INFO: ")
    assert lines[1] == "daemoneye-"
    assert re.fullmatch(r"daemoneye-eventbus: \d+ lines? lost here, which stderr did not take", lines[2])
    assert lines[-1] == "daemoneye-eventbus broker: INFO: daemoneye_eventbus.broker: stopped"
