"""``clients``: who uses the broker, as far as it tells other processes.

The wire has no question for its connections, their names and queues: `Broker.clients` answers in the broker's own
process only. What is told to all is how many subscriptions there are and how many patterns.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from daemoneye_eventbus._cli import asking, output
from daemoneye_eventbus._cli.address import add_client, connect
from daemoneye_eventbus._cli.commands import command
from daemoneye_eventbus._cli.exits import OK

if TYPE_CHECKING:
    import argparse

    from daemoneye_eventbus import EventBusStatistics

__all__ = ["add"]

_PROG: Final = "daemoneye-eventbus clients"


def add(commands: Any) -> None:
    """Adds the command."""
    parser = command(
        commands,
        "clients",
        run=_run,
        help="print how many subscriptions and patterns there are",
        description="Print how many subscriptions the broker serves and how many different patterns they have. It "
        "tells names, uids and queues of single connections in its own process only: Broker.clients().",
    )
    add_client(parser)
    parser.add_argument("--json", action="store_true", help="as one JSON object")


def _run(arguments: argparse.Namespace) -> int:
    numbers = asyncio.run(_ask(arguments))
    told = {"active_subscribers": numbers.active_subscribers, "active_topics": numbers.active_topics}
    if arguments.json:
        output.write(json.dumps(told) + "\n")
    else:
        output.write("".join(f"{name:<20}{value}\n" for name, value in told.items()))
        output.say(_PROG, "single connections are shown by Broker.clients() in the broker's own process")
    return OK


async def _ask(arguments: argparse.Namespace) -> EventBusStatistics:
    async with connect(arguments, client="clients", reconnect=False) as bus:
        return await asking.statistics(bus)
