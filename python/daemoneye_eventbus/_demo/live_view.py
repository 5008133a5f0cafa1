"""The process events of a bus as they come: a table on a terminal, plain lines elsewhere.

python live_view.py /run/daemoneye/bus.sock

It starts nothing itself. The table needs ``rich``; without it, and where the output is no terminal, each event is a
line.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import sys
import time
from collections import Counter, deque
from typing import TYPE_CHECKING

from daemoneye_eventbus import BusEvent, ClientConfig, EventBus, EventBusError, ProcessEvent, Subscription

if TYPE_CHECKING:
    from rich.table import Table

REFRESH_SECONDS = 0.25
STYLES = {"start": "green", "modify": "yellow", "stop": "red"}
Events = Subscription[BusEvent[ProcessEvent]]


def visible(text: str) -> str:
    """Names come from strangers: what would move the cursor, or hide, is shown as its escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def clock(received: BusEvent[ProcessEvent]) -> str:
    try:
        return received.bus_timestamp.astimezone().strftime("%H:%M:%S.%f")[:-3]
    except OverflowError:
        # What a stranger wrote can lie beyond every calendar, and must not end this program.
        return "??:??:??.???"


class Row:
    """One event as texts that are safe to print."""

    def __init__(self, received: BusEvent[ProcessEvent]) -> None:
        event = received.event
        # A command line can be long; what no terminal shows need not be made visible.
        self.time = clock(received)
        self.kind = received.topic.rpartition(".")[2]
        self.pid = str(event.pid)
        self.name = visible(event.name[:256])
        self.user = visible(event.metadata.get("user", "?")[:64])
        self.command = visible((event.command_line or f"[{event.metadata.get('status', 'no command line')}]")[:1024])

    def line(self, width: int) -> str:
        head = f"{self.time} {self.kind:<6} {self.pid:>7} {cut(self.name, 20):<20} {cut(self.user, 10):<10} "
        return head + cut(self.command, max(width - len(head), 16))


class Tally:
    """How many of each kind, how fast, and how many were lost."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.lost = 0
        self._recent: deque[float] = deque(maxlen=100_000)
        self._began = time.monotonic()

    def add(self, kind: str, lost: int) -> None:
        self.kinds[kind] += 1
        self.lost += lost
        self._recent.append(time.monotonic())

    def rate(self) -> float:
        """Events per second over the last five seconds, or since the start if that is less."""
        now = time.monotonic()
        while self._recent and self._recent[0] < now - 5:
            self._recent.popleft()
        return len(self._recent) / min(max(now - self._began, REFRESH_SECONDS), 5)

    def text(self, events: Events) -> str:
        counts = ", ".join(f"{self.kinds[kind]} {kind}" for kind in STYLES)
        return (
            f"{self.kinds.total()} events ({counts}), {self.rate():.1f}/s now, "
            f"{events.dropped} dropped, {events.pending} waiting, {events.gaps} interruptions"
        )


async def show_lines(events: Events) -> None:
    tally = Tally()
    width = shutil.get_terminal_size((160, 24)).columns
    try:
        async for received in events:
            row = Row(received)
            tally.add(row.kind, received.dropped_before)
            if received.dropped_before:
                print(f"             ... {received.dropped_before} events lost here")
            print(row.line(width), flush=not events.pending)
    finally:
        print(tally.text(events), flush=True)


def table(rows: deque[Row], tally: Tally, events: Events) -> Table:
    from rich.table import Table
    from rich.text import Text

    view = Table(title="events.process.*", caption=tally.text(events), expand=True, box=None, pad_edge=False)
    for name, width in (("time", 12), ("kind", 6), ("pid", 8), ("name", 20), ("user", 10)):
        view.add_column(name, width=width, no_wrap=True, overflow="ellipsis")
    view.add_column("command line", no_wrap=True, overflow="ellipsis", ratio=1)
    for row in rows:
        # Text, never markup: a process may be called "[bold]".
        cells = (row.time, row.kind, row.pid, row.name, row.user, row.command)
        view.add_row(*map(Text, cells), style=STYLES.get(row.kind, ""))
    return view


async def show_table(events: Events) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console()
    tally = Tally()
    rows: deque[Row] = deque(maxlen=500)

    async def take() -> None:
        async for received in events:
            row = Row(received)
            tally.add(row.kind, received.dropped_before)
            rows.append(row)

    def page() -> Table:
        last = deque(rows, maxlen=max(console.height - 6, 3))
        return table(last, tally, events)

    with Live(page(), console=console, auto_refresh=False) as live:
        taking = asyncio.create_task(take())
        try:
            while not taking.done():
                await asyncio.wait([taking], timeout=REFRESH_SECONDS)
                live.update(page(), refresh=True)
            await taking
        finally:
            taking.cancel()
            live.update(page(), refresh=True)


async def show(events: Events) -> None:
    """Shows events until they end or the caller is cancelled."""
    on_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    await (show_table if on_terminal and importlib.util.find_spec("rich") else show_lines)(events)


async def watch(path: str | None, instance: str | None) -> None:
    config = ClientConfig(client="live_view")
    async with EventBus.connect(path, instance=instance, config=config) as bus, bus.subscribe(ProcessEvent) as events:
        await show(events)


def quiet_stdout() -> None:
    """The reader of our pipe has seen enough: nothing is left to fail on at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("path", nargs="?", help="socket of the broker (default: $DAEMONEYE_BROKER_SOCKET)")
    where.add_argument("--instance", help="name of a broker's well-known address instead")
    arguments = parser.parse_args()
    # asyncio turns an interrupt into a cancellation, which closes what is open; a plain kill shall do the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a script started this with &
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(watch(arguments.path, arguments.instance))
    except BrokenPipeError:
        quiet_stdout()
    except (EventBusError, ValueError) as error:
        sys.exit(f"live_view: {error}")


if __name__ == "__main__":
    main()
