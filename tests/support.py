"""Shared helpers of the behaviour tests: events, waiting, child programs.

Everything here uses the public API and the operating system only, so that what
the tests find is what a program written from the documentation would find.
"""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemoneye_eventbus import Broker, BrokerConfig, ClientConfig, EventBus, ProcessEvent
from daemoneye_eventbus.testing import collect_events

HERE = Path(__file__).resolve().parent
PROGRAMS = HERE / "programs"
LONG = os.environ.get("DAEMONEYE_TEST_LONG") == "1"
TOPIC = "events.process.new"
NOBODY = 65534


def process(pid: int, name: str = "sh", **fields: Any) -> ProcessEvent:
    return ProcessEvent(pid=pid, name=name, **fields)


async def collect(subscription: Any, count: int, timeout: float = 20.0) -> list[Any]:
    """Exactly `count` items, or a failure that says how far it came."""
    return await collect_events(subscription, count, timeout)


def take_all(subscription: Any) -> list[Any]:
    """All messages that are in the subscription's queue now."""
    from daemoneye_eventbus import WouldBlock

    got: list[Any] = []
    while True:
        try:
            got.append(subscription.get_nowait())
        except WouldBlock:
            return got


def remote_clients(broker: Broker) -> list[Any]:
    """The broker's clients behind the socket, without the buses of this process."""
    return [client for client in broker.clients() if client.peer != "local"]


def pids(items: list[Any]) -> list[int]:
    return [item.event.pid for item in items]


async def eventually(condition: Callable[[], Any], timeout: float = 20.0, what: str = "condition") -> Any:
    """For states that no event announces: polls until true, fails with the last value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} still {value!r} after {timeout} s"
        await asyncio.sleep(0.01)


class Reader:
    """A task that reads all that comes."""

    def __init__(self, events: Any) -> None:
        self.events = events
        self.got: list[int] = []
        self.task = asyncio.create_task(self.read())

    async def read(self) -> None:
        async for received in self.events:
            self.got.append(received.event.pid)

    async def end(self) -> None:
        await self.events.close()
        await self.task


@dataclass
class Pair:
    """A publisher's and a subscriber's bus on the same broker, in process or through the socket."""

    kind: str
    broker: Broker
    path: str
    pub: EventBus
    sub: EventBus


async def open_bus(kind: str, broker: Broker, path: str, **config: Any) -> EventBus:
    if kind == "inproc":
        return await EventBus.from_broker(broker, config=ClientConfig(**config))
    config.setdefault("pool", False)
    return await EventBus.connect(path, config=ClientConfig(**config))


@asynccontextmanager
async def make_pair(
    kind: str,
    path: str,
    *,
    broker: dict[str, Any] | None = None,
    pub: dict[str, Any] | None = None,
    sub: dict[str, Any] | None = None,
) -> Any:
    async with Broker(path, config=BrokerConfig(**(broker or {}))) as running:
        publisher = await open_bus(kind, running, path, **(pub or {}))
        subscriber = await open_bus(kind, running, path, **(sub or {}))
        try:
            yield Pair(kind, running, path, publisher, subscriber)
        finally:
            await subscriber.shutdown()
            await publisher.shutdown()


@contextmanager
def foreign(path: Path, words: bytes = b"HTTP/1.1 400 Bad Request\r\n\r\n") -> Any:
    """A listener of another program, which says `words` to whoever comes, and hangs up."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    accepted, _ = listener.accept()
                    with accepted:
                        accepted.sendall(words)

        serving = threading.Thread(target=serve)
        serving.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            serving.join()


@contextmanager
def no_descriptors() -> Any:
    """The system gives this process no more of them."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def on_a_terminal_of_its_own(arguments: list[str], environment: dict[str, str]) -> tuple[int, int]:
    """The pid of a new process, and the side of its terminal where a person sits."""
    import pty

    with warnings.catch_warnings():
        # Of Python 3.15 and later, for the watchdog's thread; the child becomes another program at once.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid, terminal = pty.fork()
    if pid == 0:
        os.execve(arguments[0], arguments, environment)
    return pid, terminal


class Program:
    """A child process that talks in lines of JSON and has to end as expected, silently."""

    def __init__(
        self,
        name: str,
        *args: Any,
        user: int | str | None = None,
        env: dict[str, str] | None = None,
        flags: tuple[str, ...] = (),
        umask: int = -1,
        cwd: str | None = None,
    ) -> None:
        words = [a if isinstance(a, str) else json.dumps(a) for a in args]
        self._stderr = tempfile.TemporaryFile("w+")
        script = [str(PROGRAMS / name)]
        if user is not None:
            script = [str(PROGRAMS / "as_user.py"), str(user), *script]
        self.name = name
        self._buffer = b""
        self.child = subprocess.Popen(
            [sys.executable, *flags, *script, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, **(env or {})},
            umask=umask,
            cwd=cwd,
        )

    @property
    def pid(self) -> int:
        return self.child.pid

    def line(self, timeout: float = 40.0) -> str:
        deadline = time.monotonic() + timeout
        assert self.child.stdout is not None
        # Not select(), which knows no descriptor above 1,023.
        with selectors.DefaultSelector() as output:
            output.register(self.child.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                left = deadline - time.monotonic()
                if not output.select(max(left, 0)):
                    raise AssertionError(f"{self.name}: no line within {timeout} s; {self.stderr()}")
                data = os.read(self.child.stdout.fileno(), 65536)
                if not data:
                    raise AssertionError(f"{self.name}: ended ({self.child.poll()}); {self.stderr()}")
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def json(self, timeout: float = 40.0) -> Any:
        return json.loads(self.line(timeout))

    async def answer(self, timeout: float = 40.0) -> Any:
        """`json` without standing in the way of this process's event loop."""
        return await asyncio.to_thread(self.json, timeout)

    def tell(self, **command: Any) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(json.dumps(command).encode() + b"\n")
        self.child.stdin.flush()

    def ask(self, timeout: float = 40.0, **command: Any) -> Any:
        self.tell(**command)
        return self.json(timeout)

    def signal(self, number: int) -> None:
        self.child.send_signal(number)

    def freeze(self) -> None:
        """SIGSTOP, returning once the process really stands still."""
        self.signal(signal.SIGSTOP)
        deadline = time.monotonic() + 5
        while Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < deadline, "not stopped"
            time.sleep(0.001)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        self.child.kill()
        self.child.wait(10)

    def stderr(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read()

    def finish(self, timeout: float = 10.0, code: int = 0, stderr: str | None = "") -> str:
        """Closes stdin and waits; asserts exit code and, unless None, the exact stderr."""
        if self.child.stdin is not None and not self.child.stdin.closed:
            self.child.stdin.close()
        try:
            ended = self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            self.child.send_signal(signal.SIGABRT)
            self.child.wait(5)
            raise AssertionError(f"{self.name}: alive after {timeout} s; {self.stderr()}") from None
        said = self.stderr()
        assert ended == code, f"{self.name}: exit code {ended}, not {code}; {said}"
        if stderr is not None:
            assert said == stderr, f"{self.name}: stderr {said!r}"
        return said

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait(10)
        for stream in (self.child.stdin, self.child.stdout, self._stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
