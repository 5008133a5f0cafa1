"""Fault 51. The token leaves no trace."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.fault(51, "H", "token hunted in DEBUG logs, repr(), exceptions, statistics, argv, core", "nowhere"),
    pytest.mark.limit(120),
]
SECRET = b"Zq7-hunted-token-9f31c2aa-0b1d-77"
PROGRAM = """
import asyncio, logging, sys, traceback, os
from daemoneye_eventbus import Broker, BrokerConfig, ClientConfig, EventBus, EventBusError
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
async def main(path):
    token = bytes.fromhex(sys.stdin.readline().strip())
    sys.stdin.close()
    config = BrokerConfig(token=token)
    of_client = ClientConfig(token=token, pool=False)
    print(repr(config), str(config), repr(of_client))
    try:
        BrokerConfig(token=token, ping_timeout=1)
    except ValueError:
        traceback.print_exc(file=sys.stdout)
    async with Broker(path, config=config) as broker:
        async with EventBus.connect(path, config=of_client) as bus, bus.subscribe("events.#") as events:
            print(repr(bus), vars(bus) if hasattr(bus, "__dict__") else "", repr(broker), broker.statistics(), broker.clients())
            print(bus.local_statistics(), await bus.statistics(), repr(events))
            for wrong in (b"w" * 32, None):
                try:
                    await EventBus.connect(path, config=ClientConfig(token=wrong, pool=False, connect_timeout=1))
                except EventBusError as error:
                    traceback.print_exception(error, file=sys.stdout)
                    print(vars(error))
        try:
            async with EventBus.connect(path, config=of_client) as bus:
                await bus.publish(object())
        except TypeError:
            traceback.print_exc(file=sys.stdout)
    print(open("/proc/self/cmdline").read(), dict(os.environ))
asyncio.run(main(sys.argv[1]))
"""


def test_it_is_nowhere_to_be_read(path, seen):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, path],
        input=SECRET.hex() + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert "BrokerConfig(" in said
    assert "AuthenticationFailed" in said
    for form in (SECRET.decode(), SECRET.hex(), repr(list(SECRET))[1:-1], SECRET.decode()[8:24]):
        assert form not in said
    seen(f"{len(said) // 1024} KiB of logs, reprs, tracebacks and statistics: nowhere")


def test_the_command_line_takes_it_from_a_private_file_only(folder, path):
    file = folder / "token"
    file.write_bytes(SECRET)
    file.chmod(0o644)
    command = [sys.executable, "-m", "daemoneye_eventbus", "broker", path, "--token-file", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 4, done
    assert SECRET.decode() not in done.stdout + done.stderr
    file.chmod(0o600)
    child = subprocess.Popen(
        [*command, "--log-level", "debug"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        while not os.path.exists(path):
            assert child.poll() is None
        cmdline = Path(f"/proc/{child.pid}/cmdline").read_bytes() + Path(f"/proc/{child.pid}/environ").read_bytes()
        assert SECRET not in cmdline
    finally:
        child.terminate()
        out = "".join(child.communicate(timeout=10))
    assert SECRET.decode() not in out


@pytest.mark.parametrize("end", [signal.SIGABRT, signal.SIGSEGV])
def test_the_command_leaves_no_core_with_it(folder, path, seen, end):
    """A broker of the command line that ends by a defect, where cores are written."""
    file = folder / "token"
    file.write_bytes(SECRET)
    file.chmod(0o600)
    where = folder / "cores"
    where.mkdir()
    for secret in (True, False):
        command = [sys.executable, "-m", "daemoneye_eventbus", "broker", path]
        secrets = ["--token-file", str(file)] if secret else []
        child = subprocess.Popen(
            ["sh", "-c", 'ulimit -c unlimited; exec "$@"', "sh", *command, *secrets],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=where,
        )
        while not os.path.exists(path):
            assert child.poll() is None
            time.sleep(0.01)
        limits = Path(f"/proc/{child.pid}/limits").read_text()
        child.send_signal(end)
        assert child.wait(20) == -end
        os.unlink(path)
        # Without a secret nothing is taken away, so cores are what this machine makes of them.
        assert ("unlimited" in next(line for line in limits.splitlines() if "core file" in line)) is not secret
        if secret:
            assert os.listdir(where) == []
    seen(f"ended by {end.name}: no core of a broker with a token")
