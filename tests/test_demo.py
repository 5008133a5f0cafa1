"""The demo as a user sees it: on a terminal, in a pipe, interrupted, killed; nothing is left of it."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import psutil
import pytest

from programs import DEADLINE, EXAMPLES, complete, wait_for
from support import on_a_terminal_of_its_own

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the demo is run with terminals and signals of Unix")


@pytest.fixture(autouse=True)
def children_show_warnings(monkeypatch):
    """What was forgotten to be closed is then in their output, where the tests see it."""
    monkeypatch.setenv("PYTHONWARNINGS", "default,ignore:daemoneye_eventbus is a debug build:RuntimeWarning")


def test_demo_ends_by_itself_and_leaves_nothing(folder):
    started = time.monotonic()
    done = complete("demo.py", "--seconds", "3", env=os.environ | {"TMPDIR": str(folder)})
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - started < 20
    assert re.search(rf"^\d\d:\d\d:\d\d\.\d{{3}} start +{os.getpid()} ", done.stdout, re.MULTILINE)
    assert " 0 dropped" in done.stdout
    nothing_left(done.stdout, folder)


def nothing_left(text, directory):
    pids = re.search(r"broker pid (\d+), collector pid (\d+)", text)
    assert not any(psutil.pid_exists(int(pid)) for pid in pids.groups())
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_demo_is_stopped_cleanly(folder, monkeypatch, number):
    temporary = folder / "tmp"
    temporary.mkdir(mode=0o700)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.chdir(folder)
    with (folder / "out").open("w+b") as out:
        demo = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "demo.py")], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
        try:
            wait_for(lambda: b" start " in (folder / "out").read_bytes())
            demo.send_signal(number)
            assert demo.wait(DEADLINE) == 0
        finally:
            demo.kill()
            demo.wait(DEADLINE)
    text = (folder / "out").read_text()
    assert "Traceback" not in text
    nothing_left(text, temporary)


def test_demo_that_is_killed_leaves_no_process(folder):
    with (folder / "out").open("w+b") as out:
        demo = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "demo.py")],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | {"TMPDIR": str(folder)},
        )
    try:
        wait_for(lambda: b" start " in (folder / "out").read_bytes())
    finally:
        demo.kill()
        demo.wait(DEADLINE)
    pids = re.search(rb"broker pid (\d+), collector pid (\d+)", (folder / "out").read_bytes())
    wait_for(lambda: not any(is_running(int(pid)) for pid in pids.groups()))
    assert not list(folder.glob("*/*.sock"))


def is_running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_demo_on_a_terminal_shows_a_table_and_ends_on_ctrl_c(folder):
    shown = bytearray()

    def pump(descriptor):
        with contextlib.suppress(OSError):
            data = os.read(descriptor, 65536)
            shown.extend(data)
            return data
        return b""

    environment = os.environ | {"TMPDIR": str(folder), "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "30"}
    pid, terminal = on_a_terminal_of_its_own([sys.executable, str(EXAMPLES / "demo.py")], environment)
    try:
        wait_for(lambda: pump(terminal) and b"command line" in shown and b"start" in shown)
        os.write(terminal, b"\x03")
        while pump(terminal):
            pass
        _, status = os.waitpid(pid, 0)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.close(terminal)
    text = shown.decode(errors="replace")
    assert os.waitstatus_to_exitcode(status) == 0, text
    assert "Traceback" not in text
    assert "events.process.*" in text
    nothing_left(text, folder)


def test_demo_into_a_pipe_that_closes(folder):
    command = shlex.join([sys.executable, str(EXAMPLES / "demo.py")]) + " | head -n 3"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"TMPDIR": str(folder)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 3
    nothing_left(done.stdout, folder)
