"""Fault 1. The socket has its mode from its first visible moment."""

import os
import stat

import pytest
from harness import scaled

from support import NOBODY, Program

pytestmark = [
    pytest.mark.fault(
        1,
        "C",
        "umask 000, 022, 077; uid 65534 hammers connect while the broker starts and stops",
        "0 foreign connections; socket 0600 from its first visible moment, made directories 0700",
    ),
    pytest.mark.limit(300),
]
HAMMER = """
import socket, sys, os, time
path, stop = sys.argv[1:]
tries = came_in = 0
modes = set()
print("ready", flush=True)
while not os.path.exists(stop):
    with socket.socket(socket.AF_UNIX) as one:
        tries += 1
        try:
            one.connect(path)
            came_in += 1
        except OSError:
            pass
    try:
        modes.add(oct(os.stat(path).st_mode & 0o777))
    except OSError:
        pass
print(tries, came_in, *sorted(modes))
"""
STARTS = """
import asyncio, sys
from daemoneye_eventbus import Broker
async def main(path, rounds):
    for _ in range(rounds):
        broker = Broker(path)
        await broker.start()
        await broker.shutdown(0)
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077], ids=oct)
def test_no_stranger_comes_in_while_it_starts(open_folder, seen, umask, as_root):
    rounds = scaled(30, 500 if umask == 0 else 100)
    for name, source in (("hammer.py", HAMMER), ("starts.py", STARTS)):
        (open_folder / name).write_text(source)
    path, stop = str(open_folder / "b.sock"), str(open_folder / "stop")
    hammer = Program(str(open_folder / "hammer.py"), path, stop, user=NOBODY)
    assert hammer.line() == "ready"
    starts = Program(str(open_folder / "starts.py"), path, str(rounds), umask=umask)
    try:
        starts.finish(timeout=120)
        open(stop, "w").close()
        tries, came_in, *modes = hammer.line().split()
        hammer.finish()
    finally:
        starts.close()
        hammer.close()
    assert int(came_in) == 0
    assert set(modes) <= {"0o600"}
    assert int(tries) > rounds
    seen(f"umask {umask:03o}: {rounds} starts, {tries} tries, {came_in} came in")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077], ids=oct)
def test_made_directories_are_private(folder, umask):
    path = str(folder / "a" / "b" / "bus.sock")
    (folder / "starts.py").write_text(STARTS)
    starts = Program(str(folder / "starts.py"), path, "1", umask=umask)
    starts.finish()
    starts.close()
    for made in (folder / "a", folder / "a" / "b"):
        assert stat.S_IMODE(os.stat(made).st_mode) == 0o700


WATCH = """
import os, sys
path, stop = sys.argv[1:]
seen = set()
print("ready", flush=True)
while not os.path.exists(stop):
    try:
        found = os.stat(path)
        seen.add((found.st_mode & 0o777, found.st_gid))
    except OSError:
        pass
print(*(f"{mode:o}/{gid}" for mode, gid in sorted(seen)))
"""
GROUP = STARTS.replace("Broker(path)", f"Broker(path, config=BrokerConfig(socket_mode=0o660, socket_group={NOBODY}))")


def test_a_socket_for_a_group_is_nobody_elses_before(open_folder, seen, as_root):
    """Mode 0660 while the group is still the broker's own would let in whoever happens to be in that one."""
    rounds = scaled(30, 300)
    for name, source in (
        ("watch.py", WATCH),
        ("starts.py", GROUP.replace("import Broker", "import Broker, BrokerConfig")),
    ):
        (open_folder / name).write_text(source)
    path, stop = str(open_folder / "b.sock"), str(open_folder / "stop")
    watch = Program(str(open_folder / "watch.py"), path, stop)
    assert watch.line() == "ready"
    starts = Program(str(open_folder / "starts.py"), path, str(rounds), umask=0)
    try:
        starts.finish(timeout=120)
        open(stop, "w").close()
        said = set(watch.line().split())
        watch.finish()
    finally:
        starts.close()
        watch.close()
    assert f"660/{NOBODY}" in said
    assert said <= {f"600/{os.getegid()}", f"600/{NOBODY}", f"660/{NOBODY}"}
    seen(f"{rounds} starts for a group: {', '.join(sorted(said))}")
