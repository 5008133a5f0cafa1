"""Publishes the processes of this machine as they come, change and go.

The first scan publishes everything that runs (correlation stage ``snapshot``), each later one what differs from the one
before (stage ``watch``), as ``events.process.start``, ``.modify`` and ``.stop``. A scan after a reconnect publishes
everything once more, since an agent that was restarted knows nothing of what was published before. A process that lives
between two scans is not seen. All events of one scan share a correlation id.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import shlex
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TypeVar

import psutil

from daemoneye_eventbus import ClientConfig, CorrelationMetadata, EventBus, EventBusError, ProcessEvent, os_text

# A process chooses its own command line, up to megabytes: one above the frame limit would keep it out of sight.
LONGEST_COMMAND_LINE = 32_768
NOTEWORTHY = {psutil.STATUS_ZOMBIE, psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP}
KTHREADD = 2
T = TypeVar("T")
# psutil's processes are equal when pid and creation time are: a reused pid is another process.
Processes = dict[psutil.Process, ProcessEvent]


def ask(question: Callable[[], T]) -> T | None:
    """None for what a zombie no longer has, and for what only its owner or root may read."""
    try:
        return question()
    except (psutil.ZombieProcess, psutil.AccessDenied):
        return None


def describe(process: psutil.Process, known: ProcessEvent | None) -> ProcessEvent:
    """What can be read of a process now; what it no longer tells stays as it was known."""
    with process.oneshot():
        metadata = {"collector": "process_collector"}
        if user := ask(process.username):
            metadata["user"] = os_text(user)
        if (status := ask(process.status)) in NOTEWORTHY:
            metadata["status"] = str(status)
        command = shlex.join(ask(process.cmdline) or ())
        if len(command) > LONGEST_COMMAND_LINE:
            command, metadata["truncated"] = command[:LONGEST_COMMAND_LINE], "command_line"
        name, ppid = os_text(ask(process.name) or (known.name if known else "?")), ask(process.ppid)
        if ppid == KTHREADD and name.startswith("kworker/"):
            # The kernel adds what such a thread is busy with, and changes it all the time.
            name = re.sub(r"^(kworker/u?\d+:\d+\w*)[-+].*", r"\1", name)
        return ProcessEvent(
            pid=process.pid,
            name=name,
            # Escaped when it is cut: half of an escape is none.
            command_line=os_text(command) or (known.command_line if known else None),
            executable_path=os_text(ask(process.exe) or "") or (known.executable_path if known else None),
            ppid=ppid,
            start_time=datetime.fromtimestamp(process.create_time(), UTC),
            metadata=metadata,
        )


def scan(known: Processes) -> Processes:
    found: Processes = {}
    for process in psutil.process_iter():
        # It may end between any two questions; then it is simply not there any more.
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running():
                found[process] = describe(process, known.get(process))
    return found


def changes(before: Processes, after: Processes, *, everything: bool = False) -> Iterator[tuple[str, ProcessEvent]]:
    for process, event in before.items():
        if process not in after:
            yield "stop", event
    for process, event in after.items():
        if everything or process not in before:
            yield "start", event
        elif event != before[process]:
            yield "modify", event


async def collect(path: str | None, instance: str | None, interval: float) -> None:
    config = ClientConfig(client="process_collector")
    async with EventBus.connect(path, instance=instance, config=config) as bus:
        known: Processes = {}
        told: int | None = None
        while True:
            connection = bus.local_statistics()["reconnects"]
            everything, told = connection != told, connection
            found = await asyncio.to_thread(scan, known)
            correlation = CorrelationMetadata(str(uuid.uuid4())).with_stage("snapshot" if everything else "watch")
            for kind, event in changes(known, found, everything=everything):
                await bus.publish(event, correlation, topic=f"events.process.{kind}")
            known = found
            await asyncio.sleep(interval)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("path", nargs="?", help="socket of the broker (default: $DAEMONEYE_BROKER_SOCKET)")
    where.add_argument("--instance", help="name of a broker's well-known address instead")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two scans (default: 1)")
    arguments = parser.parse_args()
    if not 0 < arguments.interval < float("inf"):
        parser.error("--interval must be above 0")
    # asyncio turns an interrupt into a cancellation, which closes what is open; a plain kill shall do the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a script started this with &
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(collect(arguments.path, arguments.instance, arguments.interval))
    except (EventBusError, ValueError) as error:
        sys.exit(f"process_collector: {error}")


if __name__ == "__main__":
    main()
