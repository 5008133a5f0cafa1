"""Fault 7. A live path is nobody else's."""

import os

import pytest
from harness import scaled, times
from paths import refused

pytestmark = [
    pytest.mark.fault(
        7,
        "C",
        "second broker on a live path",
        '"already running" within 1 s; first one\'s inode and canary undisturbed',
    ),
    pytest.mark.quick,
    pytest.mark.limit(90),
]


def test_a_second_broker_changes_nothing(bench, path, seen):
    b = bench()
    before = os.stat(path)
    for _ in range(times(scaled(3, 20))):
        said = refused(path, str(b.broker.pid), error="BrokerAlreadyRunning")
        assert said["took"] < 1, said
    # Without the lock file, the live socket itself says so.
    os.unlink(path + ".lock")
    said = refused(path, path, error="BrokerAlreadyRunning")
    assert said["took"] < 1.5, said
    assert (os.stat(path).st_ino, os.stat(path).st_dev) == (before.st_ino, before.st_dev)
    seen(f"{said['error']} after {said['took'] * 1000:.0f} ms; {b.undisturbed()}")
