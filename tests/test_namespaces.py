"""A broker in a user namespace that does not map root: what is refused there, and what it advises.

And both ends in pid namespaces of their own, as in containers.
"""

import asyncio
import os
import sys

import pytest

from daemoneye_eventbus import Broker, BrokerAlreadyRunning, ClientConfig, EventBus, PermissionRefused, Sender
from support import NOBODY, process, remote_clients

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


@pytest.fixture
def elsewhere(path, program, as_root):
    """One end in a pid namespace of its own, in which nobody of here has a pid."""

    async def go(role, at=path):
        child = program("container.py", role, at)
        said = await child.answer()
        return child, said or pytest.skip("this system gives no pid namespaces")

    return go


async def test_a_client_of_another_pid_namespace_is_known_by_its_uid(path, elsewhere):
    async with Broker(path) as broker, EventBus.from_broker(broker) as bus, bus.subscribe("events.#") as events:
        child, said = await elsewhere("client")
        assert said == 7
        (info,) = remote_clients(broker)
        assert (await events.get(timeout=5)).sender == Sender(os.geteuid(), info.pid, info.id)
        await asyncio.to_thread(child.finish)


async def test_a_broker_of_another_pid_namespace_is_trusted_by_its_uid(path, elsewhere):
    child, said = await elsewhere("broker")
    assert said == "listening"
    async with EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
        await bus.publish(process(1))
        assert (await events.get(timeout=5)).event.pid == 1
        with pytest.raises(PermissionRefused, match=f"runs as uid {os.geteuid()}, and server_uids is \\[{NOBODY}\\]"):
            await EventBus.connect(path, config=ClientConfig(server_uids=(NOBODY,)))
        with pytest.raises(BrokerAlreadyRunning):
            await Broker(path).start()
        child.tell()
        assert await child.answer() == [[os.geteuid(), None]]
    await asyncio.to_thread(child.finish)
