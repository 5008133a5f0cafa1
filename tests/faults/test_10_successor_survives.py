"""Fault 10. Whoever leaves takes away only what is his own."""

import os

import pytest
from harness import until

pytestmark = [
    pytest.mark.fault(
        10,
        "H",
        "old broker closes after its path was taken over by a new one",
        "the new one's file survives (device and inode compared)",
    ),
    pytest.mark.quick,
    pytest.mark.limit(60),
]


def test_the_new_socket_survives_the_old_ones_end(bench, path, seen):
    old = bench(canary=False)
    os.unlink(path)
    os.unlink(path + ".lock")
    new = bench(path=path)
    inode = os.stat(path).st_ino
    until(lambda: not old.statistics()["reachable"], 5, "the old one notices")
    old.broker.finish(stderr=None)
    old.over()
    assert os.stat(path).st_ino == inode
    reader = new.reader()
    new.flood(count=5)
    assert reader.ask(expect=5)["received"] == 5
    seen(f"inode kept; {new.undisturbed()}")
