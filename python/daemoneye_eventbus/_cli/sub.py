"""``sub``: what is published and matches, one line for each.

It takes all that is queued, writes it at once, and checks twice a second whether time is up, the connection was
interrupted, or the reader of the output has gone, without waiting for the next event.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, Literal

from daemoneye_eventbus import CorrelationFilter, EventFilter
from daemoneye_eventbus._cli import jsonlines, lines, output, queries
from daemoneye_eventbus._cli.address import add_client, connect, seconds
from daemoneye_eventbus._cli.arguments import check_patterns, correlation_pattern, mapping, number, pair, text
from daemoneye_eventbus._cli.commands import command
from daemoneye_eventbus._cli.exits import OK, TOO_FEW, USAGE, CliError
from daemoneye_eventbus._cli.kinds import KINDS, Received
from daemoneye_eventbus._cli.numbers import counted

if TYPE_CHECKING:
    import argparse

    from daemoneye_eventbus import EventBus, Subscription

__all__ = ["add"]

_PROG: Final = "daemoneye-eventbus sub"
_CONTROL: Final = "control"
_AT_ONCE: Final = 512
_TICK: Final = 0.5


def add(commands: Any) -> None:
    """Adds the command."""
    parser = command(
        commands,
        "sub",
        run=_run,
        help="print what is published",
        description="Print what is published on topics that match one of the patterns, one line each, until Ctrl-C. "
        "In a pattern * and + match one segment, a final * one or more, a final # any number. Characters that a "
        "terminal would interpret are escaped. Reconnects if the connection breaks.",
    )
    parser.add_argument("patterns", nargs="+", metavar="PATTERN", help="such as events.process.* or events.#")
    add_client(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object per line, which pub reads back")
    parser.add_argument("--count", type=number(1), metavar="N", help="end after N lines")
    parser.add_argument(
        "--timeout", type=seconds, metavar="SECONDS", help="end after this time; with code 6 if short of --count"
    )
    parser.add_argument("--include-control", action="store_true", help="control messages as well")
    parser.add_argument(
        "--overflow",
        choices=("drop_oldest", "drop_newest", "block"),
        default="drop_oldest",
        help="what happens to events that arrive faster than they are printed (default: drop_oldest)",
    )
    parser.add_argument("--no-reconnect", action="store_true", help="end with code 5 when the connection breaks")
    parser.add_argument("--quiet", action="store_true", help="do not report rates, drops and interruptions on stderr")
    parser.add_argument(
        "--interval", type=seconds, default=5.0, metavar="SECONDS", help="time between two such reports (default: 5)"
    )
    _add_filters(parser.add_argument_group("filters", "applied by the broker; most may be given several times"))


def _add_filters(group: Any) -> None:
    def several(option: str, metavar: str, meaning: str, convert: Any) -> None:
        group.add_argument(option, action="append", default=[], metavar=metavar, help=meaning, type=convert)

    group.add_argument("--type", action="append", default=[], choices=tuple(KINDS), help="events of this type")
    several("--pid", "N", "process events of this pid", number(0, 2**32 - 1))
    group.add_argument(
        "--min-priority", type=number(0, 255), metavar="N", help="trigger requests from this priority up"
    )
    several("--metadata", "KEY=VALUE", "events with this metadata", pair)
    several("--topic", "PATTERN", "events whose topic also matches this", str)
    several("--collector", "NAME", "events of this collector", text)
    several("--correlation", "ID", "this correlation id", text)
    matching = "correlation, parent or root id that matches; * is any text"
    several("--correlation-pattern", "PATTERN", matching, correlation_pattern)
    several("--parent", "ID", "this parent correlation id", text)
    several("--root", "ID", "this root correlation id", text)
    several("--stage", "NAME", "this workflow stage", text)
    several("--tag", "KEY=VALUE", "all of these correlation tags", pair)
    several("--any-tag", "KEY=VALUE", "at least one of these correlation tags", pair)
    group.add_argument("--min-sequence", type=number(0), metavar="N", help="correlation sequence number of at least N")
    group.add_argument("--max-sequence", type=number(0), metavar="N", help="correlation sequence number of at most N")


def _filters(arguments: argparse.Namespace) -> tuple[EventFilter | None, CorrelationFilter | None]:
    least, most = arguments.min_sequence, arguments.max_sequence
    if least is not None and most is not None and least > most:
        raise CliError(f"--min-sequence {least} is above --max-sequence {most}: nothing could match", USAGE)
    try:
        event = EventFilter(
            event_types=arguments.type,
            pids=arguments.pid,
            min_priority=arguments.min_priority,
            metadata_filters=mapping("--metadata", arguments.metadata),
            topic_filters=arguments.topic,
            source_collectors=arguments.collector,
        )
        correlation = CorrelationFilter(
            correlation_ids=arguments.correlation,
            correlation_patterns=arguments.correlation_pattern,
            parent_correlation_ids=arguments.parent,
            root_correlation_ids=arguments.root,
            workflow_stages=arguments.stage,
            required_tags=mapping("--tag", arguments.tag),
            any_tags=mapping("--any-tag", arguments.any_tag),
            min_sequence=arguments.min_sequence,
            max_sequence=arguments.max_sequence,
        )
    except (ValueError, TypeError) as error:
        raise CliError(str(error), USAGE) from None
    return (
        None if event == EventFilter() else event,
        None if correlation == CorrelationFilter() else correlation,
    )


def _run(arguments: argparse.Namespace) -> int:
    check_patterns([*arguments.patterns, *arguments.topic])
    return asyncio.run(_follow(arguments))


async def _follow(arguments: argparse.Namespace) -> int:
    event_filter, correlation_filter = _filters(arguments)
    include: bool = arguments.include_control
    overflow: Literal["drop_oldest", "drop_newest", "block"] = arguments.overflow
    async with connect(arguments, client="sub", reconnect=not arguments.no_reconnect) as bus:
        subscribing = bus.subscribe(
            *arguments.patterns,
            include_control=include,
            event_filter=event_filter,
            correlation_filter=correlation_filter,
            overflow=overflow,
        )
        async with await queries.within(subscribing) as subscription:
            report = _Report(bus, subscription, quiet=arguments.quiet, interval=arguments.interval)
            report.say(f"subscribed to {' '.join(subscription.patterns)}")
            if not include and all(pattern.partition(".")[0] == _CONTROL for pattern in subscription.patterns):
                report.say(
                    "control messages are printed with --include-control alone, and nothing else is published there"
                )
            try:
                return await _print(arguments, subscription, report)
            finally:
                report.total()


async def _print(arguments: argparse.Namespace, subscription: Subscription[Received], report: _Report) -> int:
    text = jsonlines.write if arguments.json else lines.line
    left: int | None = arguments.count
    ends = time.monotonic() + (arguments.timeout or float("inf"))
    while left != 0:
        patience = min(_TICK, ends - time.monotonic())
        if patience <= 0:
            return OK if left is None else TOO_FEW
        try:
            some = await subscription.get_many(_AT_ONCE if left is None else min(_AT_ONCE, left), patience)
        except TimeoutError:
            if output.is_reader_gone():
                raise output.ReaderGone from None
        else:
            output.write("".join(text(one) + "\n" for one in some))
            report.count += len(some)
            left = None if left is None else left - len(some)
        report.tick()
    return OK


class _Report:
    """What is told beside the lines."""

    def __init__(self, bus: EventBus, subscription: Subscription[Any], *, quiet: bool, interval: float) -> None:
        self.count = 0
        self._bus = bus
        self._subscription = subscription
        self._quiet = quiet
        self._interval = interval
        self._told: tuple[int, int] = (0, 0)
        self._told_at = self._began = time.monotonic()
        self._gaps = 0
        self._state: str = bus.state

    def say(self, text: str) -> None:
        """A line, unless nobody wants any."""
        if not self._quiet:
            output.say(_PROG, text)

    def tick(self) -> None:
        """Tells what is new."""
        if (state := self._bus.state) != self._state:
            self._state = state
            self.say(state)
        if (gaps := self._subscription.gaps) != self._gaps:
            self._gaps = gaps
            self.say(f"interrupted {counted(gaps, 'time')} so far; what was published meanwhile is not here")
        now = time.monotonic()
        if now - self._told_at >= self._interval:
            news = (self.count, self._subscription.dropped)
            if news != self._told:
                rate = (self.count - self._told[0]) / (now - self._told_at)
                self.say(f"{counted(self.count, 'event')}, {rate:.0f}/s, {news[1]} dropped")
            self._told, self._told_at = news, now

    def total(self) -> None:
        """The last line."""
        passed = time.monotonic() - self._began
        waiting = self._subscription.pending
        rest = f", {waiting} came too late to be printed" if waiting else ""
        self.say(f"{counted(self.count, 'event')} in {passed:.1f} s, {self._subscription.dropped} dropped{rest}")
