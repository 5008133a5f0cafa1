"""`broker` on a socket that a service manager made: systemd's protocol, spoken by hand to the real program."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from commands import COMMAND, DEADLINE
from daemoneye_eventbus import Broker, BrokerConfig, EventBus, ProcessEvent

pytest_plugins = ["commands"]
pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="descriptors of Unix"),
    pytest.mark.limit(90),
]
# What systemd does between fork and exec; the pid stays.
HAND_OVER = """
import os, sys
count = int(sys.argv[1])
given = [int(number) for number in sys.argv[2 : 2 + count]]
for number, descriptor in enumerate(given, 3):
    # Out of the way first, so that none is overwritten by another.
    os.dup2(os.dup(descriptor), number)
    os.set_inheritable(number, True)
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
os.execv(sys.argv[2 + count], sys.argv[2 + count :])
"""


@pytest.fixture
def listening(path):
    """A listening socket at the path, made by somebody else; the unit's mode."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path)
        os.chmod(path, 0o660)
        made.listen(7)
        yield made


@pytest.fixture
def activated():
    """Starts a broker with sockets handed over."""
    started = []

    def start(*sockets, arguments=(), **environment):
        settings = {key: value for key, value in os.environ.items() if key != "DAEMONEYE_BROKER_SOCKET"}
        settings |= {"LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": "bus", **environment}

        numbers = [one.fileno() for one in sockets]
        child = subprocess.Popen(
            [
                *(sys.executable, "-c", HAND_OVER, str(len(numbers)), *map(str, numbers)),
                *(*COMMAND, "broker", *map(str, arguments)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=settings,
            pass_fds=numbers,
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def refused(child):
    out, err = child.communicate(timeout=DEADLINE)
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("daemoneye-eventbus broker: ")
    return child.returncode, err


def test_it_listens_on_what_is_handed_over_and_leaves_it_there(cli, listening, path, folder, activated):
    before = os.stat(path)
    child = activated(listening)
    assert child.stdout.readline() == f"broker: listening on {path}\n"
    # It is not the one who made it: no lock, no other mode.
    assert not Path(f"{path}.lock").exists()
    now = os.stat(path)
    assert (now.st_ino, now.st_mode, now.st_mtime) == (before.st_ino, before.st_mode, before.st_mtime)
    assert stat.S_IMODE(now.st_mode) == 0o660
    # Whoever connects is told the broker's pid by the kernel, not that of the listener's maker.
    if sys.platform == "linux":
        assert f"as pid {child.pid}, " in cli("doctor").ends(0).stdout
    child.send_signal(signal.SIGTERM)
    assert child.wait(DEADLINE) == 0
    assert child.stderr.read() == ""
    assert os.stat(path).st_ino == before.st_ino
    # The manager's own copy still listens: who comes now waits for the next broker, and is served by it.
    early = cli("stats", "--connect-timeout", "15")
    time.sleep(0.5)
    again = activated(listening, arguments=[path])
    early.ends(0)
    again.send_signal(signal.SIGINT)
    assert again.wait(DEADLINE) == 0


def test_who_is_connected_is_drained(cli, listening, path, activated):
    child = activated(listening)
    child.stdout.readline()
    reader = cli("sub", "events.#", "--no-reconnect").until("subscribed")
    cli("pub", "process", "--pid", "7", "--name", "sh").ends(0)
    child.send_signal(signal.SIGTERM)
    assert child.wait(DEADLINE) == 0
    assert "pid=7" in reader.ends(5).stdout


def test_the_path_must_be_that_of_the_socket(listening, path, folder, activated):
    assert activated(listening, arguments=["--path", path], DAEMONEYE_BROKER_SOCKET="/elsewhere").stdout.readline()
    code, said = refused(activated(listening, arguments=[folder / "other.sock"]))
    assert code == 2
    assert "other.sock is asked for" in said
    assert path in said
    assert not (folder / "other.sock").exists()


def test_what_is_no_listener_is_refused(listening, folder, activated):
    assert refused(activated(listening, listening)) == (
        2,
        "daemoneye-eventbus broker: LISTEN_FDS: a broker listens on one socket, and 2 were given (bus)\n",
    )
    assert refused(activated(listening, LISTEN_FDS="x"))[0] == 2
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(str(folder / "d.sock"))
        assert "no stream socket" in refused(activated(datagrams))[1]
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(folder / "s.sock"))
        assert "nobody listens" in refused(activated(silent))[1]
    with socket.create_server(("127.0.0.1", 0)) as internet:
        assert "no Unix socket" in refused(activated(internet))[1]
    with (folder / "file").open("w") as file:
        assert refused(activated(file))[0] == 2
    if sys.platform == "linux":
        with socket.socket(socket.AF_UNIX) as abstract:
            abstract.bind(f"\0deb-{os.getpid()}")
            abstract.listen()
            assert "no path" in refused(activated(abstract))[1]


def test_sockets_that_were_meant_for_another_process_are_left_alone(cli, listening, folder, activated):
    other = folder / "own.sock"
    child = activated(listening, arguments=[other], LISTEN_PID="1")
    assert child.stdout.readline() == f"broker: listening on {other}\n"
    child.send_signal(signal.SIGTERM)
    assert child.wait(DEADLINE) == 0
    assert not other.exists()


async def test_broker_from_listener(listening, path):
    broker = Broker.from_listener(listening)
    assert (str(broker.path), broker.running) == (path, False)
    async with broker, EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
        assert broker.reachable
        await bus.publish(ProcessEvent(1, "sh"))
        assert (await events.get(timeout=5)).event.pid == 1
        assert [client.pid for client in broker.clients()] == [os.getpid()]
    assert os.path.exists(path)
    # It took a copy: ours is open and listens still.
    async with Broker.from_listener(listening.fileno()) as second, EventBus.connect(path) as bus:
        await bus.flush()
        assert second.running
    with pytest.raises(OSError, match="descriptor"):
        Broker.from_listener(10_000)
    with pytest.raises(OSError, match="descriptor"):
        Broker.from_listener(-1)
    one, other = socket.socketpair()
    with one, other, pytest.raises(ValueError, match="listener: nobody listens on it; give a listening Unix stream"):
        Broker.from_listener(one)


def test_the_units_say_the_same_path_and_user():
    units = {
        one.suffix: one.read_text()
        for one in (Path(__file__).parent.parent / "examples").glob("*.s*")
        if one.suffix in {".service", ".socket"}
    }
    (listen,) = re.findall(r"^ListenStream=(.*)$", units[".socket"], re.MULTILINE)
    assert f"broker {listen} " in units[".service"]
    assert re.findall(r"^SocketUser=(.*)$", units[".socket"], re.MULTILINE) == re.findall(
        r"^User=(.*)$", units[".service"], re.MULTILINE
    )
    assert BrokerConfig().socket_mode == int(re.findall(r"^SocketMode=(.*)$", units[".socket"], re.MULTILINE)[0], 8)
