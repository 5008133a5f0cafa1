"""Paths: refused rather than repaired, and guarded by who is there, not by what it is called."""

import asyncio
import logging
import os
import socket
import stat
import sys
import time
from pathlib import Path

import pytest

from daemoneye_eventbus import (
    Broker,
    BrokerAlreadyRunning,
    BrokerConfig,
    ClientConfig,
    ConnectTimeout,
    EventBus,
    FrameTooLarge,
    PathRefused,
    PermissionRefused,
    os_bytes,
    os_text,
)
from support import NOBODY, collect, foreign, pids, process

SOLO = ClientConfig(pool=False)


def mode(path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


async def works(path) -> None:
    async with EventBus.connect(path, config=SOLO) as bus, bus.subscribe("events.#") as events:
        await bus.publish(process(1))
        assert pids(await collect(events, 1)) == [1]


async def refused(path, reason: str = "") -> PathRefused:
    begin = time.monotonic()
    with pytest.raises(PathRefused) as caught:
        async with Broker(str(path)):
            pass
    assert time.monotonic() - begin < 2
    named = str(caught.value.path)
    assert named in str(caught.value)
    assert caught.value.reason in str(caught.value)
    assert str(path).startswith(named)
    assert named != "/"
    assert reason.lower() in str(caught.value).lower()
    return caught.value


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_modes_do_not_depend_on_the_umask(folder, program, umask):
    path = folder / "made" / "deeper" / "b.sock"
    broker = program("broker.py", str(path), umask=umask)
    broker.json()
    assert mode(path) == 0o600
    assert mode(folder / "made") == mode(folder / "made" / "deeper") == 0o700
    for other in path.parent.iterdir():
        assert mode(other) == 0o600, other
    broker.finish()
    assert not path.exists()


async def test_an_existing_directory_keeps_its_mode(folder):
    folder.chmod(0o755)
    async with Broker(str(folder / "b.sock")):
        assert mode(folder) == 0o755
    assert mode(folder) == 0o755


async def test_group_access_by_configuration(folder, as_root):
    path = str(folder / "b.sock")
    config = BrokerConfig(socket_mode=0o660, socket_group=65534, allowed_uids=(65534,))
    async with Broker(path, config=config):
        assert mode(path) == 0o660
        assert os.lstat(path).st_gid == 65534


async def test_a_stale_socket_is_replaced(folder):
    path = str(folder / "b.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    inode = os.lstat(path).st_ino
    begin = time.monotonic()
    async with Broker(path):
        assert time.monotonic() - begin < 1
        assert os.lstat(path).st_ino != inode or mode(path) == 0o600
        await works(path)


async def test_a_regular_file_is_left_intact(folder):
    path = folder / "b.sock"
    path.write_bytes(b"precious")
    path.chmod(0o640)
    await refused(path)
    assert path.read_bytes() == b"precious"
    assert mode(path) == 0o640


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
async def test_a_socket_of_another_type_is_named_and_kept(folder, kind):
    path = folder / "b.sock"
    with socket.socket(socket.AF_UNIX, kind) as other:
        other.bind(str(path))
        if kind == socket.SOCK_SEQPACKET:
            other.listen()
        inode = os.lstat(path).st_ino
        assert (await refused(path, "another type")).path == str(path)
        with pytest.raises(PathRefused, match="another type"):
            await EventBus.connect(path)
        assert os.lstat(path).st_ino == inode


FOREIGN = [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-x\r\n", b"+OK\r\n", b"\0\0\0\0\0\0"]


@pytest.mark.parametrize("words", FOREIGN)
async def test_who_speaks_something_else_is_no_broker(folder, words):
    path = folder / "b.sock"

    def serve(listener):
        peer, _ = listener.accept()
        with peer:
            peer.recv(64)
            peer.sendall(words)
            peer.recv(64)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        serving = asyncio.create_task(asyncio.to_thread(serve, listener))
        said = await refused(path, "no broker")
        await serving
        assert path.is_socket()
    if sys.platform == "linux":
        assert f"pid {os.getpid()}" in said.reason


@pytest.mark.parametrize("config", [ClientConfig(), ClientConfig(peer="original", token=b"t" * 32)])
@pytest.mark.parametrize("words", FOREIGN[:3])
async def test_a_client_is_told_the_same(folder, words, config):
    """It was told that its messages were too large."""
    path = folder / "b.sock"
    with foreign(path, words), pytest.raises(PathRefused, match="is no broker: its answer is none of the bus") as said:
        await EventBus.connect(path, config=config)
    assert said.value.path == str(path)
    assert "check the path" in said.value.reason
    if sys.platform == "linux":
        assert f"pid {os.getpid()}" in said.value.reason


async def test_a_broker_whose_messages_are_larger_than_ours_may_be_is_one(folder):
    """As it may send them to whom it has taken for a peer of the original."""
    path = folder / "b.sock"
    with foreign(path, b"\1\0\x10\0\x10"), pytest.raises(FrameTooLarge, match="raise max_frame on both sides"):
        await EventBus.connect(path)


@pytest.mark.parametrize("words", [b"", b"\x04\0\0\0PONG", b"\x10\0\0\0\0payload"])
async def test_who_may_be_a_broker_is_left_alone(folder, words):
    """Also one of the original, which may send payloads of any kind before it answers."""
    path = folder / "b.sock"

    def serve(listener):
        peer, _ = listener.accept()
        with peer:
            peer.sendall(words)
            peer.recv(64)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        serving = asyncio.create_task(asyncio.to_thread(serve, listener))
        with pytest.raises(BrokerAlreadyRunning):
            await Broker(path).start()
        await serving
        assert path.is_socket()


@pytest.mark.parametrize("backlog", ["free", "full"])
async def test_who_is_silent_is_not_said_to_be_a_broker(folder, backlog):
    path = folder / "b.sock"
    waiting = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        while backlog == "full":
            one = socket.socket(socket.AF_UNIX)
            one.setblocking(False)
            waiting.append(one)
            try:
                one.connect(str(path))
            except BlockingIOError:
                break
        begin = time.monotonic()
        with pytest.raises(
            BrokerAlreadyRunning, match="listens at .* does not answer: .* another program; .* end it, or"
        ):
            await Broker(path).start()
        assert time.monotonic() - begin < 3
        assert path.is_socket()
    for one in waiting:
        one.close()
    # Its end is all that was missing.
    async with Broker(path):
        pass


async def test_a_directory_at_the_path(folder):
    path = folder / "b.sock"
    path.mkdir()
    await refused(path)
    assert path.is_dir()


@pytest.mark.parametrize("target", ["dangling", "file", "live"])
async def test_a_symlink_at_the_path_is_refused(folder, target):
    path, real = folder / "b.sock", folder / "real"
    path.symlink_to(real)
    if target == "file":
        real.write_bytes(b"precious")
        await refused(path)
        assert real.read_bytes() == b"precious"
    elif target == "live":
        async with Broker(str(real)):
            inode = os.lstat(real).st_ino
            await refused(path)
            assert os.lstat(real).st_ino == inode
            await works(str(real))
    else:
        await refused(path)
        assert not real.exists()
    assert path.is_symlink()
    assert os.readlink(path) == str(real)


async def test_a_symlink_among_the_directories_is_refused(folder):
    """Unless root made it where only root can write: no one else could have bent the way."""
    (folder / "real").mkdir(mode=0o700)
    (folder / "link").symlink_to("real")
    if os.geteuid() == 0:
        async with Broker(str(folder / "link" / "b.sock")):
            await works(str(folder / "link" / "b.sock"))
        for left in (folder / "real").iterdir():
            left.unlink()
        os.lchown(folder / "link", 65534, 65534)
    await refused(folder / "link" / "b.sock")
    await refused(folder / "link" / "new" / "b.sock")
    assert list((folder / "real").iterdir()) == []


async def test_a_writable_directory_is_refused(folder):
    loose = folder / "loose"
    loose.mkdir()
    for wrong in (0o777, 0o770, 0o722):
        loose.chmod(wrong)
        await refused(loose / "b.sock")
        assert mode(loose) == wrong
    assert list(loose.iterdir()) == []


async def test_a_foreign_directory_is_refused(folder, as_root):
    foreign = folder / "foreign"
    foreign.mkdir(mode=0o700)
    os.chown(foreign, 65534, 65534)
    await refused(foreign / "b.sock", "65534")
    assert list(foreign.iterdir()) == []


async def test_tmp_itself_is_accepted():
    path = f"/tmp/daemoneye-paths-{os.getpid()}.sock"
    before = mode("/tmp")
    async with Broker(path):
        await works(path)
    assert not os.path.exists(path)
    assert mode("/tmp") == before


async def test_a_second_broker_does_not_disturb_the_first(broker, path, program):
    identity = os.lstat(path).st_ino
    async with EventBus.connect(path, config=SOLO) as bus, bus.subscribe("events.#") as events:
        for number in range(3):
            begin = time.monotonic()
            with pytest.raises(BrokerAlreadyRunning) as caught:
                async with Broker(path):
                    pass
            assert time.monotonic() - begin < 1
            assert path in str(caught.value)
            await bus.publish(process(number))
        assert pids(await collect(events, 3)) == [0, 1, 2]
    assert os.lstat(path).st_ino == identity
    await works(path)


async def test_a_stopped_broker_is_not_replaced(path, program):
    first = program("broker.py", path)
    await first.answer()
    first.freeze()
    with pytest.raises(BrokerAlreadyRunning):
        async with Broker(path):
            pass
    first.thaw()
    await works(path)
    first.finish()


@pytest.mark.parametrize("attempt", range(3))
async def test_one_winner_among_many(path, attempt):
    brokers = [Broker(path) for _ in range(8)]
    results = await asyncio.gather(*(b.start() for b in brokers), return_exceptions=True)
    assert results.count(None) == 1
    assert all(r is None or isinstance(r, BrokerAlreadyRunning) for r in results), results
    await works(path)
    for broker in brokers:
        await broker.shutdown()
    assert not os.path.exists(path)


def test_one_winner_among_many_processes(path, program):
    for _ in range(3):
        brokers = [program("broker.py", path) for _ in range(6)]
        winners = []
        for broker in brokers:
            try:
                broker.json()
                winners.append(broker)
            except AssertionError:
                said = broker.finish(code=1, stderr=None)
                assert "BrokerAlreadyRunning" in said.splitlines()[-1]
        assert len(winners) == 1
        winners[0].finish()
        assert not os.path.exists(path)


async def test_the_successors_socket_survives_the_predecessors_end(folder, path):
    first = Broker(path)
    await first.start()
    os.unlink(path)
    for other in folder.iterdir():
        other.unlink()
    async with Broker(path):
        await first.shutdown()
        assert stat.S_ISSOCK(os.lstat(path).st_mode)
        await works(path)


async def test_a_removed_socket_file_cuts_nobody(broker, path):
    async with EventBus.connect(path, config=SOLO) as bus, bus.subscribe("events.#") as events:
        os.unlink(path)
        for number in range(5):
            await bus.publish(process(number))
        assert pids(await collect(events, 5)) == list(range(5))
        assert broker.running


@pytest.mark.parametrize("length", [107, 108, 200])
async def test_length_of_the_path(length, folder):
    path = f"{folder}/".ljust(length, "x")
    assert len(path) == length
    if length <= 107:
        async with Broker(path):
            await works(path)
        return
    for call in (lambda: Broker(path).start(), lambda: EventBus.connect(path)):
        with pytest.raises((ValueError, PathRefused)) as caught:
            await call()
        assert "107" in str(caught.value), "names the limit"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", '^refused to use "": it is empty; give the path of the broker\'s socket'),
        ("a\0b", "NUL"),
        ("/tmp/x\0y.sock", "NUL"),
        ("/tmp/deb-no-such/", "refused to use /tmp/deb-no-such/: it names a directory; add the name of a socket file"),
    ],
)
async def test_impossible_paths(path, said):
    for call in (lambda: Broker(path).start(), lambda: EventBus.connect(path)):
        with pytest.raises((ValueError, PathRefused), match=said):
            await call()


async def test_a_read_only_directory(folder, program, as_root):
    """Not writable for its owner: an error that names the path, no hang."""
    os.chown(folder, 65534, 65534)
    folder.chmod(0o500)
    broker = program("broker.py", str(folder / "b.sock"), user=65534)
    await asyncio.to_thread(broker.child.wait, 10)
    said = broker.finish(code=1, stderr=None)
    assert str(folder) in said.splitlines()[-1]
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Unix has lock files, and limits of what a file may hold")
@pytest.mark.parametrize("room", [0, 1])
async def test_a_disk_without_room_for_the_pid(folder, program, room):
    """The lock holds without it, and nobody is told half a number."""
    import resource

    path = str(folder / "b.sock")
    lock = Path(path + ".lock")
    lock.write_text("4294967295\n")
    lock.chmod(0o600)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        broker = program("broker.py", path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    broker.json()
    assert lock.read_bytes() == b""
    with pytest.raises(BrokerAlreadyRunning) as caught:
        await Broker(path).start()
    assert caught.value.pid is None
    async with EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
        await bus.publish(process(7))
        assert pids(await collect(events, 1)) == [7]
    broker.ask(do="shutdown")
    broker.finish(stderr=None)


async def test_what_a_terminal_obeys_in_a_path_is_escaped_in_what_is_said_of_it(folder):
    odd = f"{folder}/a\x1b[31m\nb"
    with pytest.raises(PathRefused) as nul:
        Broker(f"{odd}\0")
    assert str(nul.value).startswith(f"refused to use {folder}/a\\u{{1b}}[31m\\nb\\0: it contains a NUL byte")
    assert nul.value.path == f"{odd}\0", "as it is"
    with pytest.raises(ConnectTimeout) as missing:
        await EventBus.connect(f"{odd}/c.sock", config=ClientConfig(connect_timeout=0.05))
    assert str(missing.value).count(f"{folder}/a\\u{{1b}}[31m\\nb/c.sock") == 2
    assert str(missing.value).isprintable()
    async with Broker(f"{odd}/b.sock"):
        with pytest.raises(PermissionRefused) as distrusted:
            await EventBus.connect(f"{odd}/b.sock", config=ClientConfig(server_uids=(NOBODY,)))
    assert f"{folder}/a\\u{{1b}}[31m\\nb/b.sock runs as uid" in str(distrusted.value)
    assert str(distrusted.value).isprintable()


async def test_a_path_that_is_not_unicode_is_the_same_in_errors_and_can_be_told_in_texts(folder, caplog):
    """Each such byte became U+FFFD: a program that went by the error's path met no file, or another."""
    caplog.set_level(logging.INFO, "daemoneye_eventbus")
    path = os.fsdecode(os.fsencode(folder) + b"/n\xff\xe9.sock")
    shown = os_text(path)
    assert shown.endswith("n\u241bff\u241be9.sock")
    with pytest.raises(ConnectTimeout) as missing:
        await EventBus.connect(path, config=ClientConfig(connect_timeout=0.05))
    async with Broker(path) as broker, EventBus.connect(path):
        assert str(broker.path) == path
        with pytest.raises(BrokerAlreadyRunning) as running:
            await Broker(path).start()
    Path(path).touch()
    with pytest.raises(PathRefused) as refused:
        await Broker(path).start()
    for caught in (missing, running, refused):
        assert caught.value.path == path
        assert shown in str(caught.value)
    logged = {record.msg.split()[0]: record.path for record in caplog.records if hasattr(record, "path")}
    assert (logged["listening"], logged["connected"]) == (shown, shown)
    assert os_bytes(logged["listening"]) == os.fsencode(path)
