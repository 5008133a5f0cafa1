"""Who is there: the kernel's word about both ends, under real foreign uids (needs root)."""

import asyncio
import os
import time

import pytest

import raw as wire
from daemoneye_eventbus import (
    Broker,
    BrokerAlreadyRunning,
    BrokerConfig,
    ClientConfig,
    EventBus,
    PathRefused,
    PermissionRefused,
)
from support import NOBODY, PROGRAMS, collect, eventually, pids, process, remote_clients

SOLO = ClientConfig(pool=False, connect_timeout=3.0)
SOMEONE = 54_321
pytestmark = pytest.mark.usefixtures("as_root")


async def test_a_stranger_cannot_even_connect(open_folder, program):
    path = str(open_folder / "b.sock")
    async with Broker(path):
        stranger = program("other_user_actions.py", "connect", path, user=NOBODY)
        assert await stranger.answer() == {"refused": "PermissionError"}
        stranger.finish()


async def test_a_stranger_is_refused_by_uid_when_the_mode_lets_him_in(open_folder, program):
    path = str(open_folder / "b.sock")
    async with Broker(path) as broker:
        os.chmod(path, 0o666)
        stranger = program("other_user_actions.py", "connect", path, user=NOBODY)
        got = (await stranger.answer())["got"]
        assert "INFO" not in got
        assert got == "" or "not_permitted" in got
        assert broker.clients() == []
        stranger.finish()
        bus = program("publisher.py", path, 1, user=NOBODY)
        said = await _ended(bus)
        assert "PermissionRefused" in said
        async with EventBus.connect(path, config=SOLO) as mine:
            await mine.flush()


async def _ended(child) -> str:
    import asyncio

    await asyncio.to_thread(child.child.wait, 10)
    return child.finish(code=1, stderr=None)


async def test_allowed_uids_come_in(open_folder, program):
    path = str(open_folder / "b.sock")
    config = BrokerConfig(allowed_uids=(NOBODY,), socket_mode=0o660, socket_group=NOBODY)
    async with Broker(path, config=config) as broker:
        async with EventBus.connect(path, config=SOLO) as bus, bus.subscribe("events.#") as events:
            child = program("publisher.py", path, 20, user=NOBODY)
            await child.answer()
            assert pids(await collect(events, 20)) == list(range(20))
            assert await child.answer() == {"published": 20}
            child.finish()
            assert {c.uid for c in remote_clients(broker)} == {0}


async def test_the_brokers_uid_is_seen_by_the_broker(open_folder, program):
    path = str(open_folder / "b.sock")
    config = BrokerConfig(allowed_uids=(NOBODY,), socket_mode=0o660, socket_group=NOBODY)
    async with Broker(path, config=config) as broker:
        spec = {"patterns": ["events.#"], "expect": 1}
        child = program("subscriber.py", path, spec, user=NOBODY)
        await child.answer()
        (info,) = broker.clients()
        assert (info.uid, info.pid) == (NOBODY, child.pid)
        async with EventBus.from_broker(broker) as bus:
            await bus.publish(process(1))
        assert (await child.answer())["received"] == 1
        child.finish()


async def test_a_squatter_gets_nothing(open_folder, program):
    """Another uid listens where our broker should be: refused before one byte is sent."""
    open_folder.chmod(0o1777)
    path = str(open_folder / "b.sock")
    squatter = program("other_user_actions.py", "listen", path, user=NOBODY)
    await squatter.answer()
    # Final: were it retried, that would last for longer than the watchdog waits.
    with pytest.raises(PermissionRefused) as caught:
        await EventBus.connect(path, config=ClientConfig(pool=False, connect_timeout=600.0))
    assert caught.value.uid == NOBODY
    assert isinstance(caught.value, PermissionError)
    assert str(NOBODY) in str(caught.value)
    assert await squatter.answer() == {"got": 0}
    squatter.finish()


async def test_server_uids_by_configuration(open_folder, program):
    os.chown(open_folder, NOBODY, NOBODY)
    path = str(open_folder / "b.sock")
    broker = program(
        "broker.py",
        path,
        {"allowed_uids": [0], "socket_mode": 0o660, "socket_group": NOBODY},
        user=NOBODY,
    )
    await broker.answer()
    with pytest.raises(PermissionRefused):
        await EventBus.connect(path, config=SOLO)
    config = ClientConfig(pool=False, server_uids=(NOBODY,))
    async with EventBus.connect(path, config=config) as bus:
        await bus.flush()
    broker.finish()


async def test_root_is_no_exception_for_a_broker_of_another_user(open_folder, program):
    os.chown(open_folder, NOBODY, NOBODY)
    path = str(open_folder / "b.sock")
    broker = program("broker.py", path, user=NOBODY)
    await broker.answer()
    config = ClientConfig(pool=False, server_uids=(NOBODY,), connect_timeout=2.0)
    with pytest.raises(PermissionRefused):
        await EventBus.connect(path, config=config)
    broker.finish()


async def test_a_lock_of_another_user_is_named(open_folder, program, folder):
    """Whoever holds the lock file of a path in a shared directory must be named, not obeyed."""
    open_folder.chmod(0o1777)
    path = str(open_folder / "b.sock")
    async with Broker(path):
        (lock,) = [p for p in open_folder.iterdir() if p.name != "b.sock"]
    if lock.exists():
        lock.unlink()
    stranger = program("other_user_actions.py", "lock", str(lock), user=NOBODY)
    await stranger.answer()
    with pytest.raises(PathRefused) as caught:
        async with Broker(path):
            pass
    assert not isinstance(caught.value, BrokerAlreadyRunning)
    assert str(NOBODY) in str(caught.value), "names the owner"
    assert os.lstat(lock).st_uid == NOBODY
    stranger.finish()


async def test_a_stale_socket_of_another_user_is_refused(open_folder, program):
    open_folder.chmod(0o1777)
    path = str(open_folder / "b.sock")
    stranger = program("other_user_actions.py", "bind", path, user=NOBODY)
    await stranger.answer()
    stranger.finish()
    with pytest.raises(PathRefused) as caught:
        async with Broker(path):
            pass
    assert str(NOBODY) in str(caught.value)
    assert os.lstat(path).st_uid == NOBODY


def test_a_socket_that_cannot_be_removed_is_told(open_folder, program):
    """As where a process gave up its rights after it had started."""
    os.chown(open_folder, SOMEONE, SOMEONE)
    path = open_folder / "b.sock"
    host = open_folder / "host.py"
    host.write_text(f"import logging; logging.basicConfig()\n{(PROGRAMS / 'broker.py').read_text()}")
    broker = program(str(host), str(path), user=SOMEONE)
    broker.json()
    os.chown(open_folder, 0, 0)
    said = broker.finish(stderr=None)
    assert path.is_socket()
    assert f"the socket file stays: this process may not remove it any more path={path} cause=" in said, said


def test_a_broker_of_an_ordinary_user(open_folder, program):
    os.chown(open_folder, SOMEONE, SOMEONE)
    path = str(open_folder / "b.sock")
    broker = program("broker.py", path, user=SOMEONE)
    broker.json()
    spec = {"patterns": ["events.#"], "expect": 100}
    reader = program("subscriber.py", path, spec, user=SOMEONE)
    reader.json()
    source = program("publisher.py", path, 100, user=SOMEONE)
    assert [source.json(), source.json()][1] == {"published": 100}
    assert reader.json()["received"] == 100
    for child in (source, reader, broker):
        child.finish()


async def test_no_frame_but_auth_is_taken_before_the_proof(folder, raw):
    """By hand: no frame but AUTH is taken before the proof; every failure says the same."""
    path = str(folder / "b.sock")
    tries = {
        "publish": lambda p: p.send(wire.process_message(1)),
        "subscribe": lambda p: p.sub(1, "#"),
        "wrong proof": lambda p: p.say("AUTH", proof="00" * 32),
        "empty proof": lambda p: p.say("AUTH", proof=""),
        "no proof": lambda p: p.say("AUTH", other=1),
        "short proof": lambda p: p.say("AUTH", proof="00"),
        "no hex": lambda p: p.say("AUTH", proof="zz" * 32),
    }
    said = {}
    for name, act in tries.items():
        # A broker for each, since one lets whoever fails again and again wait longer and longer.
        async with Broker(path, config=BrokerConfig(token=b"5ecret" * 8)) as broker:
            peer = raw(path)
            info = peer.connect(nonce="11" * 16)
            assert info["auth"] == "token"
            act(peer)
            said[name] = peer.closed()
            async with EventBus.from_broker(broker) as bus:
                assert (await bus.statistics()).messages_published == 0
            assert remote_clients(broker) == []
    uniform = said["wrong proof"]
    assert uniform["code"] == "authentication_failed"
    assert all(said[n] == uniform for n in ("empty proof", "short proof", "no hex")), said


async def test_a_proof_waits_for_nobody_who_waits_for_full_queues(folder, raw):
    """Whoever has not proved the token takes room as all newcomers do, though it says that it will wait for readers."""
    path = str(folder / "b.sock")
    token = b"5ecret" * 8
    config = BrokerConfig(token=token, total_queue_bytes=1_000_000, max_frame=100_000, stall_timeout=60.0)
    waiting = ClientConfig(token=token, congestion="block", pool=False, broker_queue_messages=1)
    async with Broker(path, config=config) as broker, EventBus.connect(path, config=waiting) as reader:
        events = await reader.subscribe("events.#", overflow="block", queue_messages=1)
        buses = [await EventBus.connect(path, config=waiting) for _ in range(12)]
        for bus in buses:
            for number in range(12):
                bus.publish_nowait(process(number, "x" * 60_000))
        await eventually(lambda: broker.statistics().unfinished_bytes > 180_000)
        newcomer = raw(path)
        newcomer.connect(nonce="11" * 16, congestion="block")
        begin = time.monotonic()
        newcomer.say("AUTH", proof="0" * 40_000)
        assert newcomer.closed()["code"] == "authentication_failed"
        assert time.monotonic() - begin < 4
        # Which lets the publishers go on.
        await events.close()
        await asyncio.gather(*(bus.shutdown() for bus in buses))


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, "is the broker's own, and also what the kernel shows for every user without a number"),
        ({"allowed_uids": [NOBODY]}, "connected"),
    ],
)
def test_a_broker_of_nobody_says_why_it_lets_nobody_in(open_folder, program, config, told):
    """It said that its own uid was not in allowed_uids, and refused to have it there without a group."""
    os.chown(open_folder, NOBODY, NOBODY)
    both = program("refused_own_uid.py", str(open_folder / "b.sock"), config, user=NOBODY)
    assert told in both.json()["told"]
    both.finish()
