"""A process that has no descriptor left for its broker: an error says so, and what was opened until then is closed."""

import socket
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="descriptors are looked up in /proc")

NONE_LEFT = "Too many open files (os error 24)"


def test_a_publisher_that_cannot_wait_for_the_kernel_does_not_spin(path, program):
    """To wait takes a descriptor of its own; without one it is tried again, now and then."""
    broker = program("broker.py", path)
    broker.json()
    child = program("blocked.py", path)
    child.json()
    broker.freeze()
    took = child.ask(do="publish")["seconds"]
    broker.thaw()
    assert child.ask(do="go on") == {"unsent": 0}
    assert took < 0.1, f"{took} s of 0.5 s"
    child.finish()
    broker.finish()


def test_a_start_that_cannot_ask_who_listens_says_why(path, program):
    """Nobody does: what is there was left behind. That cannot be told without a descriptor to connect with."""
    left = socket.socket(socket.AF_UNIX)
    left.bind(path)
    left.close()
    child = program("descriptorless.py", path, 1)
    said = [text for _, text in child.json()["said"]]
    # It tells in its log that it removed the socket.
    child.finish(stderr=None)
    assert all(text.endswith(NONE_LEFT) for text in said), said
    assert f"ask whether a broker listens at {path}: {NONE_LEFT}" in said


def test_a_start_that_fails_leaves_none(path, program):
    """Each of the descriptors that it needs is the one which is missing, several times."""
    child = program("descriptorless.py", path, 3)
    answer = child.json()
    child.finish()
    assert answer["after"] == answer["before"]
    assert {kind for kind, _ in answer["said"]} == {"TransportError"}
    assert len(answer["said"]) >= 9
