"""A broker in a user namespace that does not map root: what is refused there, and what it advises."""

import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there are no user namespaces")

AGENT = 1000


@pytest.fixture
def start(path, program):
    def go(uid, user=None):
        child = program("namespace.py", path, uid, user=user)
        said = child.json()
        child.finish()
        return said or pytest.skip("this system gives no user namespaces")

    return go


def test_it_is_not_told_to_change_a_directory_whose_owner_is_not_mapped(start):
    said = start("")
    assert said.startswith("refused to use /tmp: others can write to the directory (mode 1777), and its owner"), said
    assert "shown as uid 65534, is not mapped in this user namespace" in said
    assert said.endswith("choose a directory of your own elsewhere")


def test_where_every_path_begins_there_no_other_directory_is_advised(start, as_root):
    said = start("7", user=AGENT)
    begin = "refused to use /: its owner, shown as uid 65534, is not mapped in this user namespace"
    assert said.startswith(begin), said
    assert "only uid 7 and root are trusted" in said
    assert said.endswith("start the broker where root is mapped")


def test_nor_to_change_one_that_is_meant_for_others(start, as_root):
    """Root is somebody else there, to whom /tmp belongs."""
    said = start(str(AGENT))
    assert said.startswith("refused to use /tmp: others can write to the directory (mode 1777)"), said
    assert "it is uid 1000's and not root's" in said
    assert said.endswith("choose a directory of your own elsewhere")
