"""Fixtures of the behaviour tests, and the watchdog that no test outlives."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

sys.path.insert(0, str(Path(__file__).resolve().parent))

# What users of the package get for their own tests.
pytest_plugins = ["daemoneye_eventbus.testing"]

DEFAULT_TIMEOUT = 60.0
HARD_EXTRA = 15.0


STDERR = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "limit(seconds): the watchdog's limit for this test")
    if config.getoption("asyncio_mode", None) is None:
        config.option.asyncio_mode = "auto"
    # Nothing is captured at this moment: what is written there is seen, also where the process ends at once.
    config.stash[STDERR] = os.dup(2)


def watch(item: pytest.Item) -> None:
    """From now on. Soft limit: the test fails with the place where it stood. Hard limit (the main thread is stuck in
    native code): all stacks are dumped and the process ends, since nothing else can."""
    marker = item.get_closest_marker("limit")
    # Faults in larger numbers take longer.
    longer = max(1.0, float(os.environ.get("DAEMONEYE_FAULTS_TIMES", "1")))
    seconds = (float(marker.args[0]) if marker else DEFAULT_TIMEOUT) * longer

    def expired(_signal: int, _frame: Any) -> None:
        faulthandler.dump_traceback(file=sys.__stderr__, all_threads=True)
        pytest.fail(f"watchdog: still running after {seconds:g} s")

    signal.signal(signal.SIGALRM, expired)
    faulthandler.dump_traceback_later(seconds + HARD_EXTRA, exit=True, file=item.config.stash[STDERR])
    signal.setitimer(signal.ITIMER_REAL, seconds)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Any:
    """Here and not once for all attempts: a test that is run again is watched again."""
    watch(item)
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Any:
    """Anew, since a failure has ended the watch."""
    watch(item)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Any:
    before = signal.getsignal(signal.SIGALRM)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def folder() -> Any:
    """A directory of our own (0700) with a name short enough for any socket."""
    made = tempfile.mkdtemp(prefix="deb-", dir="/tmp")
    yield Path(made)
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def path(folder: Path) -> str:
    return str(folder / "b.sock")


@pytest.fixture
def open_folder(folder: Path) -> Path:
    """A directory that other users may pass through, for tests about foreign uids."""
    folder.chmod(0o755)
    return folder


@pytest.fixture
def program() -> Any:
    """Starts child programs; whatever a failed test leaves behind is killed."""
    from support import Program

    started: list[Program] = []

    def start(name: str, *args: Any, **options: Any) -> Program:
        child = Program(name, *args, **options)
        started.append(child)
        return child

    yield start
    for child in started:
        child.close()


@pytest_asyncio.fixture
async def broker(path: str) -> Any:
    from daemoneye_eventbus import Broker

    async with Broker(path) as running:
        yield running


@pytest.fixture(params=["inproc", "socket"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture
async def pair(kind: str, path: str) -> Any:
    from support import make_pair

    async with make_pair(kind, path) as made:
        yield made


def loop_factories():
    yield pytest.param(asyncio.new_event_loop, id="asyncio")
    try:
        import uvloop
    except ImportError:
        yield pytest.param(None, id="uvloop", marks=pytest.mark.skip(reason="no uvloop"))
    else:
        yield pytest.param(uvloop.new_event_loop, id="uvloop")


@pytest.fixture(params=loop_factories())
def run(request):
    """Runs a coroutine to its end on a fresh loop of each kind."""

    def go(main):
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(main)

    return go


@pytest.fixture
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to act under another uid")


@pytest.fixture
def raw() -> Any:
    """Opens hand-made connections and closes them after the test."""
    from raw import PATIENCE, Raw

    opened: list[Raw] = []

    def connect(path: str, timeout: float = PATIENCE) -> Raw:
        peer = Raw(path, timeout)
        opened.append(peer)
        return peer

    yield connect
    for peer in opened:
        peer.close()


# Whoever runs the tests in the background of a shell has them ignore SIGINT, and every child would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
