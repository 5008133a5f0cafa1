"""``stats``: the broker's totals, once."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from daemoneye_eventbus._cli import output, queries
from daemoneye_eventbus._cli.address import add_client, connect
from daemoneye_eventbus._cli.commands import command
from daemoneye_eventbus._cli.exits import OK
from daemoneye_eventbus._cli.numbers import flat, plain

if TYPE_CHECKING:
    import argparse

__all__ = ["add"]

_PROG: Final = "daemoneye-eventbus stats"


def add(commands: Any) -> None:
    """Adds the command."""
    parser = command(
        commands,
        "stats",
        run=_run,
        help="print the broker's totals",
        description="Print the broker's totals since it started, with what it dropped and refused by reason. Users "
        "other than the broker's own and root see five of them.",
    )
    add_client(parser, positional="the broker's socket")
    parser.add_argument("--json", action="store_true", help="as one JSON object")


def _run(arguments: argparse.Namespace) -> int:
    numbers, reason = asyncio.run(_ask(arguments))
    if arguments.json:
        output.write(json.dumps(numbers) + "\n")
    else:
        lines = flat(numbers)
        width = max(len(name) for name in lines) + 2
        output.write("".join(f"{name:<{width}}{value}\n" for name, value in lines.items()))
    if reason is not None:
        output.say(_PROG, f"not all: {reason}")
    return OK


async def _ask(arguments: argparse.Namespace) -> tuple[dict[str, Any], str | None]:
    async with connect(arguments, client="stats", reconnect=False) as bus:
        numbers, reason = await queries.Totals(bus).ask()
        return plain(numbers), reason
