"""What every fault is provoked against: a broker in a process of its own, a canary pair beside it, and everything watched.

`Bench` starts the broker and, unless told otherwise, the canary (100 events a second through the bus, and the same stamps through
a plain socket relay). `Bench.close` asks what has to hold after every fault: the broker is alive and ends with code 0, has not
panicked, and holds no more descriptors and threads than before; the canary was undisturbed where the fault says so.

"Undisturbed" is the catalogue's: nothing lost, 99 % of the latencies under 5 ms, or under ten times those of the plain relay in
the same moments. Latency is judged by `make faults` alone: a short run sees some fifty events, of which the slowest would decide,
and where other programs used the machine meanwhile it says nothing about the bus. There it is shown.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raw import PATIENCE, Raw
from support import Program

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAMS = Path(__file__).parent / "programs"
HOST, CANARY, FLOOD, READER = (str(PROGRAMS / f"{name}.py") for name in ("host", "canary", "flood", "reader"))
QUICK = "quick"
SCALE = os.environ.get("DAEMONEYE_FAULTS", QUICK)
"""quick: the short ones, as part of all tests. all: every fault, in minutes. full: with the catalogue's own numbers."""
TIMES = float(os.environ.get("DAEMONEYE_FAULTS_TIMES", "1"))
"""Connections, frames, patterns, rounds and the like: so many times as many as the fault asks for. Sizes, rates and deadlines stay."""
MIB = 1 << 20
ALLOWED_MS = 5.0
FOREIGN = 0.3
"""Cores in use by other programs from which on latency is not judged."""
LEAST = 0.5 if SCALE == QUICK else 1.5
"""Seconds of canary that say something: where latency is judged, 150 events, since the 99 % of fifty is whichever was slowest."""
RATIO = 10
"""How often the relay's 99 % the bus may take where the machine makes the relay slow: it has one hop and does nothing."""


def scaled(quick: Any, everything: Any, full: Any = None) -> Any:
    """The number for this run: short, in `make faults`, and the catalogue's own."""
    return {QUICK: quick, "all": everything, "full": everything if full is None else full}[SCALE]


def times(count: int) -> int:
    """A number of things, for this run; see `TIMES`."""
    return max(1, int(count * TIMES))


def until(condition: Callable[[], Any], within: float = 20.0, what: str = "condition", pause: float = 0.01) -> Any:
    """Polls until true and gives that value; fails with the last one."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: still {value!r} after {within} s"
        time.sleep(pause)
    return value


@dataclass(frozen=True)
class Reading:
    """One look at a process through the kernel."""

    rss: int
    """Bytes."""
    fds: int
    threads: int
    maps: int
    cpu: float
    """Seconds of both kinds since its start."""

    @classmethod
    def of(cls, pid: int) -> Reading:
        root = Path(f"/proc/{pid}")
        fields = (root / "stat").read_text().rpartition(")")[2].split()
        pages = int((root / "statm").read_text().split()[1])
        return cls(
            rss=pages * resource.getpagesize(),
            fds=len(os.listdir(root / "fd")),
            threads=int(fields[17]),
            maps=(root / "maps").read_text().count("\n"),
            cpu=(int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
        )


class Bench:
    def __init__(
        self,
        path: str,
        config: dict[str, Any] | None = None,
        *,
        options: dict[str, Any] | None = None,
        canary: bool = True,
        canary_config: dict[str, Any] | None = None,
        user: int | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        self.path = path
        self.children: list[Program] = []
        self.raws: list[Raw] = []
        room = {"max_connections": 16384} if TIMES > 1 else {}
        self.config, self.options, self.user, self.env = {**room, **(config or {})}, options or {}, user, env
        self.broker = self._host()
        self.canary = None
        self.relay_p99 = 0.0
        self.busy_with_others = False
        if canary:
            self.canary = self.start(CANARY, path, canary_config or {})
            self.canary.json()
            time.sleep(0.2)
            self.canary.ask()
            self.asked = time.monotonic()
        self.machine = time.monotonic(), busy_seconds(), self._own_seconds()
        self.base = self.reading()

    def _host(self) -> Program:
        broker = self.start(HOST, self.path, self.config, self.options, user=self.user, env=self.env)
        assert broker.json() == {"ready": True}
        return broker

    # --- what runs ---------------------------------------------------------------------------------------------------

    def start(self, name: str, *args: Any, **options: Any) -> Program:
        child = Program(name, *args, **options)
        self.children.append(child)
        return child

    def flood(self, **spec: Any) -> Program:
        """A publisher, connected; it begins at once, or with wait=True at the first `tell`."""
        child = self.start(FLOOD, self.path, spec)
        child.json()
        return child

    def reader(self, **spec: Any) -> Program:
        child = self.start(READER, self.path, spec)
        child.json()
        return child

    def dial(self, timeout: float = PATIENCE) -> Raw:
        """A connection that has said nothing yet."""
        peer = Raw(self.path, timeout)
        self.raws.append(peer)
        return peer

    def connected(self, **options: Any) -> Raw:
        peer = self.dial()
        peer.connect(**options)
        return peer

    def hang_up(self) -> None:
        """Closes every connection made by hand."""
        for peer in self.raws:
            peer.close()
        self.raws.clear()

    def restart(self) -> None:
        """A new broker where the old one was killed."""
        self.children.remove(self.broker)
        self.broker.close()
        self.broker = self._host()

    # --- what is seen ------------------------------------------------------------------------------------------------

    def reading(self) -> Reading:
        return Reading.of(self.broker.pid)

    def statistics(self) -> dict[str, Any]:
        return self.broker.ask(do="statistics")

    def clients(self) -> list[dict[str, Any]]:
        return self.broker.ask(do="clients")["clients"]

    def refused(self, reason: str) -> int:
        return self.statistics()["refused"].get(reason, 0)

    def log(self) -> list[str]:
        return [line for line in self.broker.stderr().splitlines() if line.startswith("log ")]

    def back_to_base(self, within: float = 1.0) -> Reading:
        """Descriptors, threads and connections are what they were before the fault."""
        expected = 2 if self.canary else 0
        until(lambda: self.statistics()["connections"] == expected, within, "connections back to base")
        return until(
            lambda: (now := self.reading()).fds <= self.base.fds and now.threads <= self.base.threads and now,
            within,
            f"descriptors and threads back to {self.base}",
        )

    def grown(self) -> float:
        """MiB of memory above the reading at the start."""
        return round((self.reading().rss - self.base.rss) / MIB, 1)

    def canary_report(self) -> dict[str, Any]:
        assert self.canary is not None
        time.sleep(max(0.0, self.asked + LEAST - time.monotonic()))
        said = self.canary.ask(timeout=30)
        self.asked = time.monotonic()
        return said

    def undisturbed(self, *, latency: bool = True, allowed: float = ALLOWED_MS) -> str:
        """Asserts that the canary was, since this was asked last; says how it went. `allowed`: of the p99, in ms."""
        said = self.canary_report()
        others = self.used_by_others()
        assert said["lost"] == said["twice"] == said["dropped"] == said["gaps"] == 0, said
        assert said["count"] > 0, said
        bus, relay = said["bus"]["p99"], said["raw"]["p99"]
        self.relay_p99 = relay
        self.busy_with_others = others > FOREIGN
        how = f"canary {said['count']} events, lost 0, p99 {bus:.1f} ms (relay {relay:.1f})"
        if not latency or SCALE == QUICK:
            return how
        if self.busy_with_others:
            return f"{how}, not judged: other programs used {others:.1f} cores"
        assert bus < max(allowed, RATIO * relay), said
        return how

    def used_by_others(self) -> float:
        """Cores that programs outside of this test used since this was asked last."""
        now = time.monotonic(), busy_seconds(), self._own_seconds()
        then, self.machine = self.machine, now
        seconds, busy, own = (b - a for a, b in zip(then, now, strict=True))
        return max(0.0, busy - own) / max(seconds, 0.001)

    def _own_seconds(self) -> float:
        own = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        live = [child.pid for child in self.children if child.child.poll() is None]
        return sum(one.ru_utime + one.ru_stime for one in own) + sum(Reading.of(pid).cpu for pid in live)

    # --- the end -----------------------------------------------------------------------------------------------------

    def over(self) -> None:
        """The broker has ended, as the fault wants it: nothing more is asked of it."""
        for child in self.children:
            child.close()
        self.children.clear()
        self.hang_up()

    def close(self, *, failed: bool) -> None:
        """What has to hold after every fault; after a failed one only cleans up."""
        try:
            if not failed and self.children:
                self._end()
        finally:
            self.hang_up()
            for child in self.children:
                child.close()

    def _end(self) -> None:
        assert self.broker.child.poll() is None, f"the broker ended: {self.broker.child.poll()}; {self.broker.stderr()}"
        now = self.statistics()
        assert now["refused"].get("panic", 0) == 0, "the broker panicked"
        if self.canary is not None:
            self.canary.finish()
        self.hang_up()
        for child in self.children:
            if child not in (self.broker, self.canary):
                child.close()
        self.broker.finish(timeout=15, stderr=None)
        for word in ("panicked", "Fatal", "Traceback", "Aborted"):
            assert word not in self.broker.stderr(), self.broker.stderr()


def busy_seconds() -> float:
    """Seconds in which any processor of this machine was in use, summed over them."""
    user, nice, system, _idle, _wait, irq, soft, *_ = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def as_user(uid: int, code: str, *args: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Runs Python source under another uid: the interpreter, and `raw`, are loaded before the rights are dropped."""
    drop = f"import os; os.setgroups([]); os.setresgid({uid},{uid},{uid}); os.setresuid({uid},{uid},{uid})\n"
    head = f"import json, os, socket, struct, sys, contextlib\nsys.path.insert(0, {str(PROGRAMS.parents[1])!r})\nimport raw\n"
    return subprocess.run(
        [sys.executable, "-c", head + drop + code, *args],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def freeze(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T", 5, "stopped")


def dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
