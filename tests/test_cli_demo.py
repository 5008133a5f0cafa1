"""`demo`: what `make demo` shows, from the installed package."""

from __future__ import annotations

import os
import re
import signal

import psutil
import pytest

from commands import wait_for

pytest_plugins = ["commands"]
pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="the demo is run with terminals and signals of Unix"),
    pytest.mark.limit(90),
]


def gone(text, directory):
    pids = re.search(r"broker pid (\d+), collector pid (\d+)", text)
    wait_for(lambda: not any(psutil.pid_exists(int(pid)) for pid in pids.groups()))
    assert [one for one in directory.iterdir() if one.name.startswith("daemoneye-demo")] == []


def test_demo_shows_processes_and_leaves_nothing(cli, folder):
    child = cli("demo", "--seconds", "3", env={"TMPDIR": str(folder)}).ends(0, "")
    assert re.search(rf" start +{os.getpid()} ", child.stdout)
    assert " 0 dropped" in child.stdout
    gone(child.stdout, folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_is_stopped(cli, folder, number):
    child = cli("demo", env={"TMPDIR": str(folder)}).until(" start ", "stdout")
    child.signal(number).ends(130, "")
    gone(child.stdout, folder)


def test_demo_into_a_pipe_that_closes(cli, folder):
    read, write = os.pipe()
    child = cli("demo", env={"TMPDIR": str(folder)}, stdout=write)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        first = stream.readline().decode()
    child.ends(141)
    gone(first, folder)


def test_demo_says_what_it_needs(cli, folder):
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['psutil'] = None\n")
    child = cli("demo", env={"PYTHONPATH": str(folder)}).ends(1)
    assert child.stderr.count("\n") == 1
    assert "psutil" in child.stderr
    assert "pip install psutil rich" in child.stderr
    assert "--seconds" in cli("demo", "--help", env={"PYTHONPATH": str(folder)}).ends(0, "").stdout
    cli("demo", "--seconds", "0").ends(2)
