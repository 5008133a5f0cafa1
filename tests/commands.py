"""Commands as children of a test. PYTEST_DONT_REWRITE, since tests import it before they name it as a plugin.

Every wait has a deadline, and a timer kills all children of a test that is stuck all the same.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time

import pytest

DEADLINE = 40.0
WATCHDOG = 80.0
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
        assert "Traceback" not in self.stderr, self.stderr
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
def cli(path):
    """Starts commands, with the broker's address in the environment."""
    children = []

    def start(*arguments, env=None, **options):
        settings = {key: value for key, value in os.environ.items() if key != "NOTIFY_SOCKET"}
        settings |= {"DAEMONEYE_BROKER_SOCKET": str(path), "TERM": "xterm", **(env or {})}
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
def cli_broker(cli, path):
    """A broker that listens there."""
    return cli("broker", path).until("listening", "stdout")


def unread(pipe):
    """Bytes that wait in a pipe."""
    fcntl = pytest.importorskip("fcntl")
    termios = pytest.importorskip("termios")
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def publish_lines(cli, text, *arguments, **options):
    """`pub` with this on its stdin."""
    child = cli("pub", *arguments, stdin=subprocess.PIPE, **options)
    child.process.stdin.write(text if isinstance(text, bytes) else text.encode())
    child.process.stdin.close()
    return child


def events(*pids, **more):
    """A line for each."""
    return "".join(json.dumps({"type": "process", "fields": {"pid": pid, "name": "sh"}, **more}) + "\n" for pid in pids)


def findings_of(cli, code, *arguments):
    """What `doctor` found by subject, the last of each."""
    child = cli("doctor", "--json", *arguments).ends(code, "")
    found = [json.loads(line) for line in child.stdout.splitlines()]
    assert max((one["code"] for one in found), default=0) > 0 or code == 0
    # What keeps somebody from working says what to do.
    assert all(one["advice"] for one in found if one["level"] in {"warn", "bad"} and one["subject"] != "path")
    return {one["subject"]: one for one in found}


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
