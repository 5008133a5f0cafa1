"""``top``: the broker's totals, its clients and their rates, again and again.

Rates are differences of two answers. A broker that was restarted counts from nothing: its first rates are left out, and
so are those of a client that was not there before.
"""

from __future__ import annotations

import asyncio
import functools
import json
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from daemoneye_eventbus import ConnectionLost, PermissionRefused, ProtocolError
from daemoneye_eventbus._cli import output, page, queries
from daemoneye_eventbus._cli.address import add_client, connect, seconds
from daemoneye_eventbus._cli.arguments import number
from daemoneye_eventbus._cli.commands import command
from daemoneye_eventbus._cli.exits import OK, CliError
from daemoneye_eventbus._cli.numbers import plain
from daemoneye_eventbus._cli.terminal import Terminal

if TYPE_CHECKING:
    import argparse

    from daemoneye_eventbus import EventBus

__all__ = ["add"]

_PROG: Final = "daemoneye-eventbus top"
_HEAD_EVERY: Final = 20
_RATES: Final = {"published": "messages_published", "delivered": "messages_delivered"}


def add(commands: Any) -> None:
    """Adds the command."""
    parser = command(
        commands,
        "top",
        run=_run,
        help="watch totals, rates, queues and clients",
        description="Watch the totals and rates of the broker and its clients, until q or Ctrl-C: on a terminal in "
        "place, elsewhere as a line of totals each time, or everything with --json. Users other than the broker's own "
        "and root see five of the totals.",
    )
    add_client(parser, positional="the broker's socket")
    parser.add_argument("--json", action="store_true", help="one JSON object per line, clients included")
    parser.add_argument("--once", action="store_true", help="show once, after one interval; the same as --count 1")
    parser.add_argument("--count", type=number(1), metavar="N", help="end after N updates")
    parser.add_argument(
        "--interval", type=seconds, default=1.0, metavar="SECONDS", help="time between two updates (default: 1)"
    )


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    numbers: dict[str, Any]
    """As JSON; what this user is not told is absent."""
    clients: list[dict[str, Any]] | None
    reason: str | None


def _run(arguments: argparse.Namespace) -> int:
    asyncio.run(_watch(arguments))
    return OK


async def _watch(arguments: argparse.Namespace) -> None:
    left: int | None = 1 if arguments.once else arguments.count
    shown = 0
    trouble: str | None = None
    on_terminal = output.is_terminal(sys.stdout) and not arguments.json
    async with connect(arguments, client="top") as bus:
        totals = queries.Totals(bus)
        before = await _ask(bus, totals)
        if before.reason is not None and not on_terminal:
            output.say(_PROG, f"not all: {before.reason}")
        with Terminal(on=on_terminal) as terminal:
            while left is None or shown < left:
                if await terminal.quit_within(arguments.interval):
                    return
                now = await _sample(bus, totals)
                if isinstance(now, str):
                    totals.ask_anew()
                    if now != trouble:
                        terminal.leave_page()
                        output.say(_PROG, now)
                    trouble = now
                    continue
                trouble = None
                if _is_another(before, now):
                    totals.ask_anew()
                row = _row(before, now)
                if arguments.json:
                    output.write(json.dumps(row) + "\n")
                elif on_terminal:
                    terminal.show(functools.partial(page.page, row, now.reason))
                else:
                    output.write(page.line(row) if shown % _HEAD_EVERY else page.HEAD + page.line(row))
                before = now
                shown += 1


async def _ask(bus: EventBus, totals: queries.Totals) -> _Sample:
    numbers, reason = await totals.ask()
    clients: list[dict[str, Any]] | None = None
    if reason is None:
        try:
            clients = [plain(one) for one in await queries.clients(bus)]
        except (PermissionRefused, ProtocolError) as error:
            reason = str(error)
    return _Sample(time.monotonic(), plain(numbers), clients, reason)


async def _sample(bus: EventBus, totals: queries.Totals) -> _Sample | str:
    """What the broker tells, or why it does not now."""
    try:
        return await _ask(bus, totals)
    except (ConnectionLost, CliError) as error:
        if bus.state == "closed":
            raise
        if output.is_reader_gone():
            raise output.ReaderGone from None
        return bus.state if isinstance(error, ConnectionLost) else str(error)


def _is_another(before: _Sample, now: _Sample) -> bool:
    """Whether the broker was restarted in between."""
    return bool(now.numbers["uptime_seconds"] < before.numbers["uptime_seconds"])


def _row(before: _Sample, now: _Sample) -> dict[str, Any]:
    """What is shown: the numbers, with their rates beside them."""
    restarted = _is_another(before, now)
    passed = now.at - before.at
    row: dict[str, Any] = dict(now.numbers)
    for name, total in _RATES.items():
        row[f"{name}_per_second"] = _rate(None if restarted else before.numbers[total], now.numbers[total], passed)
    if "dropped" in row:
        lost = None if restarted else sum(before.numbers.get("dropped", {}).values())
        row["dropped_per_second"] = _rate(lost, sum(row["dropped"].values()), passed)
    if now.clients is not None:
        known = {one["id"]: one for one in before.clients or ()}
        row["clients"] = [
            one
            | {f"{name}_per_second": _rate(known.get(one["id"], {}).get(name), one[name], passed) for name in _RATES}
            for one in now.clients
        ]
    return row


def _rate(before: int | None, now: int, passed: float) -> float | None:
    return None if before is None or now < before else round((now - before) / passed, 1)
