"""``stats``: the broker's totals, once."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from daemoneye_eventbus._cli import asking, output
from daemoneye_eventbus._cli.address import add_client, connect
from daemoneye_eventbus._cli.exits import OK, table

if TYPE_CHECKING:
    from daemoneye_eventbus import EventBusStatistics

__all__ = ["add"]


def add(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "stats",
        help="print the broker's totals",
        description="Print the broker's totals since it started.",
        epilog=table(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_client(parser)
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.set_defaults(run=_run, command="stats")


def _run(arguments: argparse.Namespace) -> int:
    numbers = dataclasses.asdict(asyncio.run(_ask(arguments)))
    if arguments.json:
        output.write(json.dumps(numbers) + "\n")
    else:
        output.write("".join(f"{name:<20}{value}\n" for name, value in numbers.items()))
    return OK


async def _ask(arguments: argparse.Namespace) -> EventBusStatistics:
    async with connect(arguments, client="stats", reconnect=False) as bus:
        return await asking.statistics(bus)
