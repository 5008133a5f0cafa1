"""The watchdog of these tests: each attempt is watched, and a test that only ends with its process is named."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pytest_rerunfailures")

SUITE = """
import signal
import time

import conftest
import pytest

conftest.HARD_EXTRA = 1.0
pytestmark = pytest.mark.limit(1)

"""
SLOW = """
def test_slow():
    time.sleep(40)
"""
STUCK = """
def test_stuck():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    time.sleep(40)


@pytest.mark.limit(30)
def test_behind():
    pass
"""
CLEANED = """
@pytest.fixture
def stuck():
    yield
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    time.sleep(40)


def test_fails(stuck):
    assert False
"""


def run(folder, suite, *options):
    shutil.copy(Path(__file__).parent / "conftest.py", folder)
    (folder / "test_suite.py").write_text(SUITE + suite, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, "test_suite.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_a_test_that_is_run_again_is_watched_again(tmp_path):
    done = run(tmp_path, SLOW, "--reruns", "1")
    assert "1 failed, 1 rerun" in done.stdout, done.stdout
    assert "watchdog: still running after 1 s" in done.stdout


def test_where_a_test_stands_that_nothing_ends_is_seen(tmp_path):
    done = run(tmp_path, STUCK)
    assert done.returncode != 0
    assert "in test_stuck" in done.stderr, done.stderr


def test_what_is_stuck_after_a_failure_ends_too(tmp_path):
    done = run(tmp_path, CLEANED)
    assert done.returncode != 0
    assert "in stuck" in done.stderr, done.stderr


def test_a_worker_that_was_ended_is_replaced(tmp_path):
    pytest.importorskip("xdist")
    done = run(tmp_path, STUCK, "-n", "1")
    assert "in test_stuck" in done.stderr, done.stderr
    assert "crashed while running 'test_suite.py::test_stuck'" in done.stdout, done.stdout
    assert "1 failed, 1 passed" in done.stdout, done.stdout
