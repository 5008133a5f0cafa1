"""Fault 4. Connecting to a file gives the same errno as connecting to a dead socket."""

import os

import pytest
from paths import refused

pytestmark = [
    pytest.mark.fault(4, "H", "a regular file with content at the socket path", "refused, bytes intact"),
    pytest.mark.quick,
]


def test_a_file_is_left_alone(folder, seen):
    target = folder / "b.sock"
    target.write_bytes(b"precious")
    before = os.stat(target)
    said = refused(str(target), str(target))
    assert target.read_bytes() == b"precious"
    assert (os.stat(target).st_ino, os.stat(target).st_mode) == (before.st_ino, before.st_mode)
    os.mkdir(folder / "d.sock")
    refused(str(folder / "d.sock"), "d.sock")
    os.mkfifo(folder / "f.sock")
    refused(str(folder / "f.sock"), "f.sock")
    seen(said["message"][:70])


def test_a_file_in_the_place_of_the_lock_is_left_alone(folder, seen):
    lock = folder / "b.sock.lock"
    lock.write_bytes(b"precious")
    lock.chmod(0o600)
    said = refused(str(folder / "b.sock"), "b.sock.lock")
    assert lock.read_bytes() == b"precious"
    assert not (folder / "b.sock").exists()
    seen(said["message"][:70])
