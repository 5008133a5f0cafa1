"""Fault 54. What a started program inherits."""

import pytest

from support import Program

pytestmark = [
    pytest.mark.fault(
        54,
        "H",
        "exec a child from broker and client; list its fds",
        "no bus socket inherited (close-on-exec everywhere)",
    ),
    pytest.mark.quick,
]


def test_nothing_is_inherited(path, seen):
    child = Program("exec.py", path)
    try:
        assert child.json() == {"inherited": []}
        child.finish()
    finally:
        child.close()
    seen("none, with close_fds off")
