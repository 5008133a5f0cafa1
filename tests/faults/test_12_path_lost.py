"""Fault 12. The socket file is removed under a running broker."""

import os

import pytest
from harness import until

pytestmark = [
    pytest.mark.fault(
        12,
        "M",
        "socket file removed while running",
        'connected clients go on; health says "path lost"; clear operator error',
    ),
    pytest.mark.quick,
    pytest.mark.limit(60),
]


def test_clients_go_on_and_the_operator_is_told(bench, path, seen):
    b = bench()
    assert b.statistics()["reachable"]
    os.unlink(path)
    until(lambda: not b.statistics()["reachable"], 3, "reachable")
    (line,) = [line for line in b.log() if "socket file" in line]
    assert "start a new broker" in line
    seen(f"reachable false; {b.undisturbed()}")
