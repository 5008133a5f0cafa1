"""``top``: the broker's totals and their rates, again and again.

Rates are differences of two answers. A broker that was restarted counts from nothing: its first rates are left out.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from daemoneye_eventbus import ConnectionLost, EventBusStatistics
from daemoneye_eventbus._cli import asking, output
from daemoneye_eventbus._cli.address import add_client, connect, seconds
from daemoneye_eventbus._cli.arguments import number
from daemoneye_eventbus._cli.commands import command
from daemoneye_eventbus._cli.exits import OK, CliError

if TYPE_CHECKING:
    import argparse

    from daemoneye_eventbus import EventBus

__all__ = ["add"]

_PROG: Final = "daemoneye-eventbus top"
_HEAD_EVERY: Final = 20
_CLEAR: Final = "\x1b[H\x1b[J"
_HEAD: Final = (
    f"{'uptime':>10} {'published':>14} {'/s':>9} {'delivered':>14} {'/s':>9} {'subscribers':>11} {'topics':>6}\n"
)


def add(commands: Any) -> None:
    """Adds the command."""
    parser = command(
        commands,
        "top",
        run=_run,
        help="watch the broker's totals and rates",
        description="Watch the broker's totals and rates until Ctrl-C: on a terminal in place, elsewhere a line each "
        "time. What waits in queues and what they dropped is known in the broker's own process only "
        "(Broker.statistics()); sub tells what it lost itself.",
    )
    add_client(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--once", action="store_true", help="one line, after one interval; the same as --count 1")
    parser.add_argument("--count", type=number(1), metavar="N", help="end after so many")
    parser.add_argument(
        "--interval", type=seconds, default=1.0, metavar="SECONDS", help="time between two answers (default: 1)"
    )


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    numbers: EventBusStatistics


def _run(arguments: argparse.Namespace) -> int:
    asyncio.run(_watch(arguments))
    return OK


async def _watch(arguments: argparse.Namespace) -> None:
    left: int | None = 1 if arguments.once else arguments.count
    shown = 0
    terminal = sys.stdout.isatty() and not arguments.json
    async with connect(arguments, client="top") as bus:
        before = _Sample(time.monotonic(), await asking.statistics(bus))
        while left is None or shown < left:
            await asyncio.sleep(arguments.interval)
            now = await _sample(bus)
            if now is None:
                continue
            output.write(_text(before, now, shown, terminal=terminal, as_json=arguments.json))
            before = now
            shown += 1


async def _sample(bus: EventBus) -> _Sample | None:
    try:
        return _Sample(time.monotonic(), await asking.statistics(bus))
    except (ConnectionLost, CliError) as error:
        if bus.state == "closed":
            raise
        if output.is_reader_gone():
            raise output.ReaderGone from None
        output.say(_PROG, f"{bus.state}: {error}")
        return None


def _text(before: _Sample, now: _Sample, shown: int, *, terminal: bool, as_json: bool) -> str:
    published = _rate(before, now, "messages_published")
    delivered = _rate(before, now, "messages_delivered")
    numbers = now.numbers
    if as_json:
        line = {**asdict(numbers), "published_per_second": published, "delivered_per_second": delivered}
        return json.dumps(line) + "\n"
    row = (
        f"{_duration(numbers.uptime_seconds):>10} {numbers.messages_published:>14} {_shown(published):>9} "
        f"{numbers.messages_delivered:>14} {_shown(delivered):>9} "
        f"{numbers.active_subscribers:>11} {numbers.active_topics:>6}\n"
    )
    if terminal:
        return _CLEAR + _HEAD + row
    return row if shown % _HEAD_EVERY else _HEAD + row


def _rate(before: _Sample, now: _Sample, name: str) -> float | None:
    difference: int = getattr(now.numbers, name) - getattr(before.numbers, name)
    if difference < 0 or now.numbers.uptime_seconds < before.numbers.uptime_seconds:
        return None
    return round(difference / (now.at - before.at), 1)


def _shown(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.0f}"


def _duration(total: int) -> str:
    minutes, rest = divmod(total, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (f"{days}d " if days else "") + f"{hours:02}:{minutes:02}:{rest:02}"
