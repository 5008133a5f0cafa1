"""Signals that the host blocks in its threads are not delivered to threads of this package."""

import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no masks of signals")


def test_signals_that_the_host_blocks_stay_pending_for_it(path, program):
    """Our threads once blocked nothing: a SIGTERM that the host waited for ended the process."""
    host = program("masked.py", path)
    assert host.json() == ["waited for", "handled"]
    host.finish()
