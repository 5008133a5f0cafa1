"""Fault 11. Paths that no socket can have."""

import os

import pytest
from paths import refused, try_path

pytestmark = [
    pytest.mark.fault(
        11,
        "M",
        "path of 107, 108, 200 bytes; empty; NUL; non-UTF-8; relative then chdir; read-only directory",
        "value or OS error naming path and limit; never truncated; no thread or file left behind",
    ),
    pytest.mark.quick,
    pytest.mark.limit(60),
]


def test_length(folder, seen):
    longest = f"{folder}/" + "x" * (106 - len(str(folder)))
    assert len(longest) == 107
    assert try_path(longest)["running"] == longest
    for length in (108, 200):
        path = longest + "y" * (length - 107)
        said = refused(path, "107")
        assert sorted(os.listdir(folder)) in ([], [os.path.basename(longest) + ".lock"])
    seen(said["message"][:60])


def test_what_is_no_path():
    for bad in ("", "/tmp/a\0b.sock"):
        said = try_path(bad)
        assert said.get("error") in {"PathRefused", "ValueError"}, said
        assert said["left"] == [0, 0], said


def test_a_path_that_is_not_utf_8(folder):
    path = os.path.join(os.fsencode(str(folder)), b"\xff\xfe.sock")
    said = try_path(os.fsdecode(path))
    assert "running" in said or said["error"] in {"PathRefused", "ValueError"}, said
    assert [name for name in os.listdir(folder) if not name.endswith(".lock")] == []


def test_relative_then_chdir(folder, program, seen):
    (folder / "move.py").write_text("""
import asyncio, os
from daemoneye_eventbus import Broker, EventBus
async def main():
    broker = Broker("rel.sock")
    await broker.start()
    os.chdir("/")
    async with EventBus.connect(broker.path) as bus:
        await bus.flush()
    print(broker.path, os.path.exists(broker.path), flush=True)
    await broker.shutdown()
    print(os.path.exists(broker.path), flush=True)
asyncio.run(main())
""")
    child = program(str(folder / "move.py"), cwd=str(folder))
    assert child.line() == f"{folder}/rel.sock True"
    assert child.line() == "False"
    child.finish()


def test_a_read_only_directory(folder, as_root):
    os.chown(folder, 65534, 65534)
    folder.chmod(0o500)
    said = try_path(str(folder / "b.sock"), user=65534)
    assert said["error"] in {"PathRefused", "TransportError"}, said
    assert str(folder) in said["message"]
    assert os.listdir(folder) == []
