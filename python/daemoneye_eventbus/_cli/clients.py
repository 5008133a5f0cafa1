"""``clients``: who is connected to the broker, one line for each."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from daemoneye_eventbus._cli import output, queries
from daemoneye_eventbus._cli.address import add_client, connect
from daemoneye_eventbus._cli.commands import command
from daemoneye_eventbus._cli.exits import OK
from daemoneye_eventbus._cli.numbers import plain, table

if TYPE_CHECKING:
    import argparse

    from daemoneye_eventbus import ClientInfo

__all__ = ["add"]

_HEAD: Final = ["id", "pid", "uid", "peer", "subs", "queued", "published", "delivered", "dropped", "name"]
_LEFT: Final = frozenset({0, 3})
# Enough to tell them apart, as with commits.
_ID: Final = 8


def add(commands: Any) -> None:
    """Adds the command."""
    parser = command(
        commands,
        "clients",
        run=_run,
        help="list who is connected",
        description="List who is connected to the broker, this command included: uid and pid as the kernel knows them, "
        "the kind of peer (native, original, or local in the broker's own process), subscriptions, messages queued "
        "at the broker, messages published, delivered and dropped, and the name that the client gives itself. Only "
        "for the broker's own user and root.",
    )
    add_client(parser, positional="the broker's socket")
    parser.add_argument("--json", action="store_true", help="one JSON object per line, with everything that is known")


def _run(arguments: argparse.Namespace) -> int:
    found = asyncio.run(_ask(arguments))
    if arguments.json:
        output.write("".join(json.dumps(plain(one)) + "\n" for one in found))
    else:
        output.write("\n".join(table([_HEAD, *map(_row, found)], left=_LEFT)) + "\n")
    return OK


async def _ask(arguments: argparse.Namespace) -> list[ClientInfo]:
    async with connect(arguments, client="clients", reconnect=False) as bus:
        return await queries.clients(bus)


def _row(one: ClientInfo) -> list[str]:
    return [
        one.id[:_ID],
        "-" if one.pid is None else str(one.pid),
        "-" if one.uid is None else str(one.uid),
        one.peer,
        str(one.subscriptions),
        str(one.queued_messages),
        str(one.published),
        str(one.delivered),
        str(sum(one.dropped.values())),
        output.quoted(one.name) if one.name else "-",
    ]
