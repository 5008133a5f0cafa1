"""Fault 2. A link on the way could lead anywhere; only root's links in root's directories are followed."""

import os

import pytest
from paths import refused, try_path

pytestmark = [
    pytest.mark.fault(
        2,
        "C",
        "parent directory or an ancestor is a symlink, unless root owns it in a directory that only root can write",
        "refused, reason named; nothing made in the target",
    ),
    pytest.mark.quick,
]


@pytest.mark.parametrize("tail", ["b.sock", "deep/er/b.sock"], ids=["parent", "ancestor"])
def test_a_link_among_the_directories_is_refused(folder, seen, tail, as_root):
    target = folder / "target"
    target.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)  # whoever owns the directory can turn the link
    os.symlink(target, folder / "link")
    os.chown(folder, 0, 0)
    os.chown(folder / "link", 65534, 65534, follow_symlinks=False)
    said = refused(str(folder / "link" / tail), "link")
    assert os.listdir(target) == []
    assert os.readlink(folder / "link") == str(target)
    seen(said["message"][:60])


def test_a_link_that_only_root_can_have_made_is_followed(as_root, folder):
    """/var/run -> /run is such a one."""
    base = f"/{folder.name}-links"
    os.mkdir(base, 0o755)
    try:
        os.mkdir(f"{base}/real", 0o700)
        os.symlink("real", f"{base}/link")
        assert "running" in try_path(f"{base}/link/b.sock")
        os.chmod(base, 0o1777)  # others can write beside it
        os.chown(f"{base}/link", 65534, 65534, follow_symlinks=False)
        refused(f"{base}/link/b.sock", "link")
        assert os.listdir(f"{base}/real") in ([], ["b.sock.lock"])
    finally:
        for name in os.listdir(f"{base}/real"):
            os.unlink(f"{base}/real/{name}")
        os.rmdir(f"{base}/real")
        os.unlink(f"{base}/link")
        os.rmdir(base)
