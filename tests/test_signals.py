"""Signals are for the threads of the host: what it blocks there comes to none of ours."""

import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no masks of signals")


def test_what_the_host_blocks_waits_until_it_takes_it(path, program):
    """Our threads blocked nothing: a SIGTERM that the host waited for ended it."""
    host = program("masked.py", path)
    assert host.json() == ["waited for", "handled"]
    host.finish()
