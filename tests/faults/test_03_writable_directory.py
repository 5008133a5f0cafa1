"""Fault 3. Directories of others and directories that others can write to."""

import os
import stat

import pytest
from paths import refused, try_path

pytestmark = [
    pytest.mark.fault(
        3,
        "C",
        "parent of another uid; parent group/other-writable without sticky bit; /tmp itself",
        "first two refused with reason; /tmp accepted; mode of an existing directory never changed",
    ),
    pytest.mark.quick,
]


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720, 0o702], ids=oct)
def test_a_directory_that_others_can_write_to(folder, seen, mode):
    folder.chmod(mode)
    said = refused(str(folder / "b.sock"), str(folder), "chmod")
    assert stat.S_IMODE(os.stat(folder).st_mode) == mode
    assert os.listdir(folder) == []
    seen(f"{mode:o}: {said['error']}")


def test_a_directory_of_another_user(folder, as_root):
    os.chown(folder, 65533, 65533)
    refused(str(folder / "b.sock"), "65533")
    os.chown(folder, 0, 0)
    os.mkdir(folder / "sub", 0o755)
    os.chown(folder / "sub", 65533, 65533)
    os.mkdir(folder / "sub" / "mine", 0o700)
    refused(str(folder / "sub" / "mine" / "b.sock"), "65533")


def test_tmp_is_accepted(folder):
    path = f"/tmp/{folder.name}.sock"
    before = os.stat("/tmp").st_mode
    try:
        assert try_path(path)["running"] == path
    finally:
        os.unlink(path + ".lock")
    assert os.stat("/tmp").st_mode == before


def test_a_directory_keeps_its_mode(folder):
    folder.chmod(0o755)
    assert "running" in try_path(str(folder / "b.sock"))
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o755
