"""Fault 5. The last component is a link."""

import os
import socket

import pytest
from paths import refused

pytestmark = [
    pytest.mark.fault(
        5, "H", "path is a symlink: dangling, to a file, to another live socket", "refused; link and target intact"
    ),
    pytest.mark.quick,
]


@pytest.mark.parametrize("kind", ["dangling", "file", "live socket"])
def test_a_link_at_the_path(folder, seen, kind):
    target, link = folder / "target", folder / "b.sock"
    listener = None
    if kind == "file":
        target.write_bytes(b"precious")
    elif kind == "live socket":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(target))
        listener.listen()
    os.symlink(target, link)
    said = refused(str(link), "link")
    assert os.readlink(link) == str(target)
    assert os.path.exists(target) == (kind != "dangling")
    if kind == "file":
        assert target.read_bytes() == b"precious"
    if listener is not None:
        with socket.socket(socket.AF_UNIX) as again:
            again.connect(str(target))
        listener.close()
    seen(f"{kind}: {said['error']}")
