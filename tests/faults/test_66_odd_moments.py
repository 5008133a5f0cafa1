"""Fault 66, beyond the catalogue. The catalogue's faults in larger numbers, and what a host or a peer may do at odd moments."""

import array
import ctypes
import json
import os
import platform
import resource
import socket
import subprocess
import sys
import time

import pytest
from harness import MIB, PROGRAMS, Reading, scaled, times, until
from paths import try_path

from raw import Raw, framed, process_message

# Of hundreds of busy peers each has a turn of some 20 us before the canary has one.
BESIDE_HUNDREDS_MS = 50.0
pytestmark = [
    pytest.mark.fault(
        66,
        "H",
        "beyond the catalogue: 2,000 slow handshakes; a directory without space, moved, or removed; "
        "signals without end; RLIMIT_NPROC; a file system that hangs; a peer that passes descriptors to a client, that closes half of its connection",
        "works, or an error that says why; no descriptor stays; what was asked for still comes",
    ),
    pytest.mark.limit(240),
]
CONNECT = b'CONNECT {"protocol":1,"client":"slow","dialect":"bincode"}'


def test_two_thousand_slow_handshakes(bench, seen):
    """One byte at a time, and never the last: the deadline is that of the handshake and not of each byte."""
    count = times(scaled(500, 2000))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 200:
        pytest.skip(f"needs {count + 200} descriptors in one process, and RLIMIT_NOFILE is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 200), hard))
    b = bench(
        {"max_connections": count + 100, "original_peers": False, "handshake_timeout": 3.0},
        options={"limits": {"RLIMIT_NOFILE": min(hard, count + 200)}},
    )
    frame = framed(CONNECT)
    begin = time.monotonic()
    peers = [b.dial(timeout=10) for _ in range(count)]
    served, worst = 0, 0.0
    for at in range(8):
        for peer in peers:
            peer.write(frame[at : at + 1])
        good = b.dial()
        began = time.monotonic()
        good.connect()
        good.barrier()
        worst = max(worst, time.monotonic() - began)
        good.close()
        served += 1
        if time.monotonic() - begin > 2:
            break
    grown = b.grown()
    until(lambda: b.refused("handshake_timeout") == count, 15, "all cut")
    for peer in peers:
        assert peer.closed()["code"] == "handshake_timeout"
    assert grown < count * 16 / 1024 + 16, grown
    b.hang_up()
    b.back_to_base(5)
    how = b.undisturbed(allowed=BESIDE_HUNDREDS_MS)
    seen(f"{count} cut, {grown:+.0f} MiB; {served} good ones served meanwhile in {worst * 1000:.0f} ms at most; {how}")


@pytest.fixture
def small_disk(folder, as_root):
    """A file system of 64 KiB."""
    place = folder / "disk"
    place.mkdir(mode=0o700)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=16,mode=700", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place):
    """Takes all blocks and all inodes."""
    with open(place / "full", "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    names = 0
    try:
        while True:
            (place / f"empty-{names}").touch()
            names += 1
    except OSError:
        return names


def test_a_disk_that_is_full(bench, small_disk, seen):
    """A broker that runs needs no room; one that starts works or names the path and the reason."""
    b = bench(path=str(small_disk / "b.sock"))
    fill(small_disk)
    reader = b.reader()
    b.flood(count=1000).json()
    assert reader.ask(expect=1000)["received"] == 1000
    said = try_path(str(small_disk / "c.sock"))
    assert "running" in said or "c.sock" in said["message"], said
    assert said.get("left", [0, 0]) == [0, 0]
    how = b.undisturbed()
    reader.close()
    b.children.remove(reader)
    b.close(failed=False)
    b.over()
    assert not (small_disk / "b.sock").exists()
    seen(f"full: 1000 of 1000, a new one: {said.get('message', 'runs')[:90]}; {how}")


@pytest.mark.parametrize("what", ["moved", "removed"])
def test_the_directory_goes_while_the_broker_runs(bench, folder, seen, what):
    place = folder / "run"
    place.mkdir(mode=0o700)
    b = bench(path=str(place / "b.sock"))
    reader = b.reader()
    if what == "moved":
        place.rename(folder / "elsewhere")
    else:
        for file in place.iterdir():
            file.unlink()
        place.rmdir()
    until(lambda: not b.statistics()["reachable"], 5, "told")
    # Somebody else has that place by now: it is not the broker's to tidy up.
    place.mkdir(mode=0o700)
    (place / "b.sock").write_text("another's")
    how = b.undisturbed()
    assert reader.ask(expect=0)["gaps"] == 0
    reader.close()
    b.children.remove(reader)
    b.close(failed=False)
    b.over()
    assert (place / "b.sock").read_text() == "another's"
    seen(f"directory {what}: told, clients went on, a file at the old path left alone; {how}")


STORM = """
import asyncio, json, signal, sys
from daemoneye_eventbus import Broker, ClientConfig, EventBus, ProcessEvent
caught = 0
def storm(*_):
    global caught
    caught += 1
async def main(path):
    signal.signal(signal.SIGALRM, storm)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    async with Broker(path) as broker:
        config = ClientConfig(pool=False, congestion="block")
        async with EventBus.connect(path, config=config) as bus, EventBus.connect(path, config=config) as other:
            async with other.subscribe("events.#", overflow="block") as events:
                async def publish():
                    for pid in range(300_000):
                        await bus.publish(ProcessEvent(pid, "sh"))
                    await bus.flush()
                task = asyncio.create_task(publish())
                got = []
                while len(got) < 300_000:
                    got += [one.event.pid for one in await events.get_many(1000, timeout=20)]
                await task
        for _ in range(20):
            async with EventBus.connect(path, config=config) as bus:
                await bus.statistics()
        refused = {reason: count for reason, count in broker.statistics().refused.items() if count}
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(json.dumps({"in_order": got == list(range(300_000)), "caught": caught, "refused": refused}))
asyncio.run(main(sys.argv[1]))
"""


def test_signals_without_end(folder, path, seen, program):
    """Two thousand a second, into every system call of broker, bus and loop."""
    (folder / "storm.py").write_text(STORM)
    child = program(str(folder / "storm.py"), path)
    said = child.json(60)
    child.finish()
    assert said["in_order"], said
    assert said["refused"] == {}, said
    assert said["caught"] > 100
    seen(f"{said['caught']} signals: 300,000 of 300,000 events, 20 connects")


def test_no_thread_is_left(folder, path, seen, program):
    """RLIMIT_NPROC of a user who has as many already: an error, and no descriptor or file behind."""
    (folder / "threads.py").write_text(
        """
import asyncio, json, os, resource, sys
from daemoneye_eventbus import Broker, EventBus, EventBusError
async def main(path):
    said = {}
    before = len(os.listdir("/proc/self/fd"))
    for what in ("broker", "bus"):
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        try:
            if what == "broker":
                await Broker(path).start()
            else:
                await EventBus.connect(path)
            said[what] = "works"
        except (EventBusError, OSError, RuntimeError) as error:
            said[what] = f"{type(error).__name__}: {error}"
    said["fds"] = len(os.listdir("/proc/self/fd")) - before
    print(json.dumps(said), flush=True)
os.setgroups([])
uid = 54321
os.chown(os.path.dirname(path := sys.argv[1]), uid, uid)
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
asyncio.run(main(path))
"""
    )
    if os.geteuid() != 0:
        pytest.skip("needs root to act under a user that has no processes")
    child = program(str(folder / "threads.py"), path)
    said = child.json(30)
    child.finish(stderr=None)
    assert "panicked" not in child.stderr(), child.stderr()
    for what in ("broker", "bus"):
        assert ": " in said[what], said
    # The sockets that wake the loop stay while the loop does.
    assert said["fds"] <= 4, said
    assert not os.path.exists(path)
    seen(f"no thread: {said['broker'][:80]}")


def test_a_broker_that_passes_descriptors_to_a_client(folder, path, seen, program):
    """Whoever plays the broker may send what it likes along with its frames; nothing of it stays in the client."""
    (folder / "client.py").write_text(
        """
import asyncio, json, os, sys
from daemoneye_eventbus import ClientConfig, EventBus
async def main(path):
    async with EventBus.connect(path, config=ClientConfig(pool=False, reconnect=False)) as bus:
        async with bus.subscribe("events.#") as events:
            before = len(os.listdir("/proc/self/fd"))
            got = 0
            while got < 200:
                got += len(await events.get_many(100, timeout=10))
            print(json.dumps(len(os.listdir("/proc/self/fd")) - before), flush=True)
            os._exit(0)
asyncio.run(main(sys.argv[1]))
"""
    )
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    listener.settimeout(20)
    child = program(str(folder / "client.py"), path)
    with listener, open("/dev/null") as null:
        peer = Raw.of(listener.accept()[0], 20)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null.fileno()] * 100))
        peer.expect("CONNECT")

        def send(body):
            peer.sock.sendmsg([framed(body)], [rights])

        info = {
            "protocol": 1, "version": "0", "client_id": "00112233-4455-6677-8899-aabbccddeeff", "dialect": "bincode",
            "max_frame": MIB, "queue_messages": 1000, "queue_bytes": MIB, "max_patterns_per_client": 10,
            "max_filter_terms": 10, "max_topic_depth": 8, "ping_interval": 30.0, "nonce": "00" * 32, "auth": "none",
        }  # fmt: skip
        send(b"INFO " + json.dumps(info).encode())
        sub = peer.expect("SUB")
        send(b"OK " + json.dumps({"id": sub["id"]}).encode())
        for number in range(200):
            send(process_message(number))
        assert child.json(20) == 0
        peer.close()
    seen("200 frames with 100 descriptors each: none stays in the client")


def test_a_peer_that_closes_half(bench, seen):
    """Who says that it sends no more has ended its connection; what it sent before is routed, and nobody else notices."""
    b = bench()
    reader = b.connected()
    reader.subscribe(1, "events.process.#")
    count = times(scaled(200, 2000))
    for number in range(count):
        peer = b.dial()
        peer.connect()
        peer.send(process_message(number))
        peer.sock.shutdown(socket.SHUT_WR)
        assert peer.receive() is None
        peer.close()
        b.raws.remove(peer)
        assert reader.message().topic == "events.process.new"
    b.hang_up()
    b.back_to_base(3)
    seen(f"{count} half-closed: {count} messages routed, all connections ended; {b.undisturbed()}")


def test_a_traced_broker(bench, seen):
    """A debugger holds the broker by ptrace, with SIGSTOP pending, and lets go."""
    if sys.platform != "linux":
        pytest.skip("needs Linux's ptrace")
    b = bench(canary=False)
    reader = b.reader()
    flood = b.flood(rate=500, count=1500, config={"congestion": "block"})
    with Tracer(b.broker.pid):
        time.sleep(scaled(1, 3))
    done = flood.json(30)
    got = reader.ask(expect=1500, within=10, timeout=30)
    assert (got["received"], got["missing"], got["twice"], done["errors"]) == (1500, 0, 0, {}), (got, done)
    seen(f"held by ptrace for {scaled(1, 3)} s: 1500 of 1500")


class Tracer:
    """Attaches to all threads of a process, which stops them, and detaches again."""

    ATTACH, DETACH, ANY_THREAD = 16, 17, 0x40000000

    def __init__(self, pid):
        self.pid = pid

    def __enter__(self):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        self.threads = [int(name) for name in os.listdir(f"/proc/{self.pid}/task")]
        for thread in self.threads:
            if self.libc.ptrace(self.ATTACH, thread, None, None) != 0:
                pytest.skip(f"ptrace is not allowed here: {os.strerror(ctypes.get_errno())}")
            os.waitpid(thread, self.ANY_THREAD)
        return self

    def __exit__(self, *_):
        for thread in self.threads:
            self.libc.ptrace(self.DETACH, thread, None, None)


def test_a_fork_in_the_middle(folder, path, seen, program):
    """Children that are forked off while broker and buses are at work end without a word, and the parent goes on."""
    (folder / "forks.py").write_text(
        """
import asyncio, json, os, sys, threading
from daemoneye_eventbus import Broker, ClientConfig, EventBus, ProcessEvent
async def main(path, count):
    async with Broker(path) as broker, EventBus.connect(path, config=ClientConfig(congestion="block")) as bus:
        async with EventBus.connect(path, config=ClientConfig(pool=False)) as other:
            async with other.subscribe("events.#", overflow="block") as events:
                over, codes = threading.Event(), []
                def forks():
                    while not over.is_set():
                        pid = os.fork()
                        if pid == 0:
                            os._exit(7)
                        codes.append(os.waitpid(pid, 0)[1])
                thread = threading.Thread(target=forks)
                thread.start()
                async def publish():
                    for pid in range(count):
                        await bus.publish(ProcessEvent(pid, "sh"))
                task, got = asyncio.create_task(publish()), []
                while len(got) < count:
                    got += [one.event.pid for one in await events.get_many(1000, timeout=20)]
                await task
                over.set()
                thread.join()
    print(json.dumps({"in_order": got == list(range(count)), "forks": len(codes), "codes": sorted(set(codes))}), flush=True)
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""
    )
    child = program(str(folder / "forks.py"), path, str(times(scaled(20_000, 100_000))))
    said = child.json(60)
    child.finish()
    assert said["in_order"], said
    assert said["codes"] == [7 << 8], said
    seen(f"{said['forks']} forks meanwhile, each child ended by itself; all events in order")


def test_descriptors_used_up_while_connections_come(bench, seen):
    """Ten times as many as there are descriptors for, in waves; each wave that goes leaves the next its places."""
    b = bench({"max_connections": 4096}, options={"limits": {"RLIMIT_NOFILE": 64}})
    count, waves = times(scaled(200, 640)), scaled(2, 5)
    for _ in range(waves):
        peers = []
        for _ in range(count):
            peer = socket.socket(socket.AF_UNIX)
            peer.settimeout(0.5)
            try:
                peer.connect(b.path)
            except (BlockingIOError, TimeoutError):
                peer.close()
                break
            peers.append(peer)
        time.sleep(0.3)
        before = Reading.of(b.broker.pid).cpu
        time.sleep(1.0)
        assert Reading.of(b.broker.pid).cpu - before < 0.3
        for peer in peers:
            peer.close()
        until(lambda: served(b), 3, "a good one served")
    seen(f"{waves} waves of {count} on 64 descriptors; {b.undisturbed()}")


def served(b):
    peer = b.dial(timeout=1)
    try:
        peer.connect()
    except (OSError, AssertionError):
        return False
    else:
        return True
    finally:
        peer.close()
        b.raws.remove(peer)


def test_a_file_system_that_hangs(path, seen, program):
    """Whoever looks at the socket's path waits, as on a file system of a network that is gone; nobody else does."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("written for the system calls of Linux on x86_64")
    child = program(str(PROGRAMS / "hanging.py"), path)
    said = child.json(60)
    child.finish()
    assert (said["asked"], said["reachable"], said["left"], said["again"]) == (True, True, True, True), said
    # A look each second, of which the first does not come back.
    assert said["hanging"] < 1 + said["before"], said
    assert said["undelivered"] == 0, said
    assert max(said["shutdown"], said["start"]) < 4, said
    seen(
        f"{said['hanging'] * 1000:.1f} ms at most (before {said['before'] * 1000:.1f}); "
        f"shutdown {said['shutdown']:.1f} s, a start given up {said['start']:.1f} s"
    )
