"""The processes of a run: started, spoken to, their CPU clocks read, and ended whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benches.contestants import Contestant
from benches.peers import PEERS, find_program

_ROOT = Path(__file__).parent.parent
_CPUCLOCK_SCHED = 2


class RunFailed(Exception):
    """A process said nothing in time, or ended."""


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process, ended ones included, to the nanosecond."""
    return time.clock_gettime(((~pid) << 3) | _CPUCLOCK_SCHED)


def resident_bytes(pid: int) -> int:
    """Resident memory, without what is shared with the page cache."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RunFailed(f"no memory figure of process {pid}")


class Process:
    """One child that speaks lines of JSON."""

    def __init__(self, name: str, command: list[str], folder: Path, *, speaks: bool = True) -> None:
        self.name = name
        self._errors = (folder / f"{name}.err").open("w+b")
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if speaks else self._errors,
            stderr=self._errors,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
        )
        self.pid = self._child.pid
        self._held = b""

    def said(self, what: str, timeout: float = 30.0) -> dict[str, Any]:
        """Waits until the child says so."""
        assert self._child.stdout is not None
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self._child.stdout, selectors.EVENT_READ)
            while True:
                line, newline, rest = self._held.partition(b"\n")
                if newline:
                    self._held = rest
                    said: dict[str, Any] = json.loads(line)
                    if said.pop("said") == what:
                        return said
                    continue
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise RunFailed(f"{self.name} did not say {what!r} within {timeout:.0f} s{self._last_words()}")
                read = os.read(self._child.stdout.fileno(), 65536)
                if not read:
                    raise RunFailed(f"{self.name} ended before it said {what!r}{self._last_words()}")
                self._held += read

    def tell(self, **what: Any) -> None:
        """One line to the child."""
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(what).encode() + b"\n")
        self._child.stdin.flush()

    def cpu(self) -> float:
        """Its CPU clock, in seconds."""
        return cpu_seconds(self.pid)

    def _last_words(self) -> str:
        self._errors.seek(0)
        words = self._errors.read().decode(errors="replace").strip()
        return f": {words[-500:]}" if words else ""

    def end(self) -> None:
        """Closes its input, then insists."""
        with contextlib.suppress(OSError):
            assert self._child.stdin is not None
            self._child.stdin.close()
        for stop in (None, self._child.terminate, self._child.kill):
            if stop:
                stop()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(3)
                break
        if self._child.stdout:
            self._child.stdout.close()
        self._errors.close()


class Run:
    """A broker of one contestant and the processes around it, in a folder of their own."""

    def __init__(self, contestant: Contestant, *, alone: bool = False, **broker_options: Any) -> None:
        """`alone`: without a broker process."""
        self.contestant = contestant
        self._alone = alone
        self._broker_options = broker_options
        self._folder = tempfile.TemporaryDirectory(prefix="bench-")
        self.processes: list[Process] = []

    def __enter__(self) -> Self:
        folder = Path(self._folder.name)
        peer = PEERS[self.contestant.peer]
        names = {"folder": str(folder), "port": str(_free_port())}
        names["address"] = self.address = peer.address.format(**names)
        try:
            if self._alone:
                return self
            if not peer.server:
                self.broker = self.start("broker", "broker", **self._broker_options)
                self.broker.said("ready")
            else:
                for name, text in peer.files.items():
                    (folder / name).write_text(text.format(**names))
                program, *arguments = peer.server
                command = [find_program(program) or program, *(argument.format(**names) for argument in arguments)]
                self.broker = Process("broker", command, folder, speaks=False)
                self.processes.append(self.broker)
                _answers(self.address)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self.processes):
            process.end()
        self._folder.cleanup()

    def start(self, name: str, role: str, contestant: Contestant | None = None, **options: Any) -> Process:
        """A child in this run; `options` are the role's."""
        who = contestant or self.contestant
        arguments = [who.peer, who.variant, who.loop, role, self.address, json.dumps(options)]
        command = [who.python or sys.executable, "-m", "benches.child", *arguments]
        process = Process(name, command, Path(self._folder.name))
        self.processes.append(process)
        return process

    @contextlib.contextmanager
    def counting_cpu(self, into: dict[str, Any]) -> Iterator[None]:
        """CPU seconds of each process while the block runs, by name; a name's number at the end is dropped."""
        before = [process.cpu() for process in self.processes]
        yield
        spent: dict[str, float] = {}
        for process, start in zip(self.processes, before, strict=True):
            kind = process.name.rstrip("0123456789")
            spent[kind] = spent.get(kind, 0.0) + process.cpu() - start
        into["cpu"] = spent
        into["cpu_total"] = sum(spent.values())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(where: str, timeout: float = 10.0) -> None:
    """Until a broker that does not speak to us listens."""
    deadline = time.monotonic() + timeout
    host, _, port = where.partition(":")
    family, address = (socket.AF_INET, (host, int(port))) if port else (socket.AF_UNIX, where)
    while True:
        with socket.socket(family, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
            probe.connect(address)
            return
        if time.monotonic() > deadline:
            raise RunFailed(f"nothing listens at {where}")
        time.sleep(0.02)
