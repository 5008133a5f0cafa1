"""A bus that was connected before keeps reconnecting through local errors that are temporary."""

import asyncio
import contextlib
import os
import shutil
import socket
import time
from pathlib import Path

import pytest

from daemoneye_eventbus import Broker, BrokerConfig, ClientConfig, EventBus
from support import eventually, foreign, no_descriptors, process

FAST = ClientConfig(reconnect_initial=0.02, reconnect_max=0.2, pool=False)
GUEST, GROUP = 12345, 54321


@contextlib.contextmanager
def a_file(path):
    path.unlink()
    path.write_text("precious")
    yield
    assert path.read_text() == "precious"
    path.unlink()


@contextlib.contextmanager
def a_directory(path):
    path.unlink()
    path.mkdir()
    yield
    path.rmdir()


@contextlib.contextmanager
def a_socket_for_datagrams(path):
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        yield
    path.unlink()


@contextlib.contextmanager
def a_link_to_itself_on_the_way(path):
    shutil.rmtree(path.parent)
    path.parent.symlink_to(path.parent)
    yield
    path.parent.unlink()
    path.parent.mkdir(0o700)


@contextlib.contextmanager
def no_descriptor(path):
    with no_descriptors():
        yield


@contextlib.contextmanager
def another_program(path):
    """It has the path while the broker is away, and answers as its own clients would have it."""
    path.unlink()
    with foreign(path):
        yield
    path.unlink()


@pytest.mark.parametrize(
    ("hindrance", "told"),
    [
        (another_program, "above the limit of 1048576"),
        (a_file, "not a socket"),
        (a_directory, "not a socket"),
        (a_socket_for_datagrams, "of another type"),
        (a_link_to_itself_on_the_way, "symbolic links"),
        (no_descriptor, "Too many open files"),
    ],
)
async def test_temporary_errors_do_not_end_reconnecting(folder, program, caplog, hindrance, told):
    place = folder / "run" / "bus.sock"
    place.parent.mkdir(0o700)
    broker = program("broker.py", str(place))
    await broker.answer()
    bus = await EventBus.connect(str(place), config=FAST)
    events = await bus.subscribe("events.process.*")
    broker.kill()
    await eventually(lambda: bus.state == "reconnecting", what="state")
    with hindrance(place):
        await eventually(lambda: "cannot be dialled now" in caplog.text, what="word about what is in the way")
        assert told in caplog.text
        await bus.publish(process(1))
        assert bus.state == "reconnecting"
    again = program("broker.py", str(place))
    await again.answer()
    assert (await events.get(timeout=20)).event.pid == 1
    assert events.gaps == 1
    await bus.shutdown()
    again.finish()


@pytest.mark.usefixtures("as_root")
async def test_a_directory_that_is_not_accessible_for_a_while(open_folder, program):
    """As when a service manager makes it again, and sets owner and mode afterwards."""
    place = open_folder / "run" / "bus.sock"
    place.parent.mkdir()
    config = {"allowed_uids": [GUEST], "socket_mode": 0o660, "socket_group": GROUP}

    def let_in(mode):
        os.chown(place.parent, 0, GROUP)
        place.parent.chmod(mode)

    let_in(0o750)
    broker = program("broker.py", str(place), config)
    await broker.answer()
    member = program("other_user_client.py", str(place), {"reconnect_max": 0.2}, user=f"{GUEST}:{GROUP}")
    await member.answer()
    let_in(0o700)
    broker.kill()
    await asyncio.sleep(1)
    again = program("broker.py", str(place), config)
    await again.answer()
    let_in(0o750)
    answer = await asyncio.to_thread(member.ask, do="publish", topic="events.process.new", count=1)
    assert answer == {"refused": 0}
    member.finish(stderr=None)
    again.finish()


@pytest.mark.usefixtures("as_root")
async def test_a_socket_before_its_group_is_set(open_folder, program):
    """At first only its owner may connect. A bus that reconnects or connects at that moment must try again."""
    place = str(open_folder / "bus.sock")
    config = BrokerConfig(allowed_uids=(GUEST,), socket_mode=0o660, socket_group=GROUP)
    async with Broker(place, config=config):
        guest = program("connecting_in_a_loop.py", place, user=f"{GUEST}:{GROUP}")
        await guest.answer()
    until = time.monotonic() + 5
    while time.monotonic() < until:
        async with Broker(place, config=config):
            await asyncio.sleep(0.002)
    async with Broker(place, config=config):
        answer = await asyncio.to_thread(guest.ask)
        assert answer == {"refused": []}
        guest.finish(stderr=None)
    assert Path(place + ".lock").exists()
