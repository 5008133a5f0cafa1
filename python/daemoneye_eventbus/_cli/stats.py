"""``stats``: the broker's totals, once."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from daemoneye_eventbus._cli import asking, output
from daemoneye_eventbus._cli.address import add_client, connect
from daemoneye_eventbus._cli.commands import command
from daemoneye_eventbus._cli.exits import OK

if TYPE_CHECKING:
    import argparse

    from daemoneye_eventbus import EventBusStatistics

__all__ = ["add"]


def add(commands: Any) -> None:
    """Adds the command."""
    parser = command(
        commands,
        "stats",
        run=_run,
        help="print the broker's totals",
        description="Print the broker's totals since it started.",
    )
    add_client(parser)
    parser.add_argument("--json", action="store_true", help="as one JSON object")


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
