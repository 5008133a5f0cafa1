"""Everything in this folder runs on a loop without ``add_reader``, like Windows' own.

No Python of Windows is used by the tests; this is how that half of the package is tested elsewhere.
"""

from __future__ import annotations

import asyncio

import pytest


class LoopWithoutAddReader(asyncio.SelectorEventLoop):
    """Reads and writes sockets, and watches nothing for others. (What it does for itself it undoes in public.)"""

    def add_reader(self, fd, callback, *args):
        raise NotImplementedError

    def add_writer(self, fd, callback, *args):
        raise NotImplementedError


def pytest_asyncio_loop_factories(config, item):
    return {"no_add_reader": LoopWithoutAddReader}


@pytest.fixture
def run_with():
    """Makes what runs coroutines on one fresh loop."""
    return lambda: asyncio.Runner(loop_factory=LoopWithoutAddReader)


@pytest.fixture
def run(run_with):
    """Runs a coroutine to its end on a fresh loop."""

    def go(main):
        with run_with() as runner:
            return runner.run(main)

    return go
