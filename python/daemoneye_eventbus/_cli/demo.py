"""``demo``: a broker, a collector of this machine's processes and a live view of them, each in a process of its own."""

from __future__ import annotations

import importlib.util
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

from daemoneye_eventbus._cli import output
from daemoneye_eventbus._cli.address import seconds
from daemoneye_eventbus._cli.commands import command
from daemoneye_eventbus._cli.exits import OK, CliError

if TYPE_CHECKING:
    import argparse

__all__ = ["add"]

_PROG: Final = "daemoneye-eventbus demo"
_INSTALL: Final = "pip install psutil rich"


def add(commands: Any) -> None:
    """Adds the command."""
    parser = command(
        commands,
        "demo",
        run=_run,
        help="see the processes of this machine live",
        description="See the processes of this machine as they come and go: starts a broker, a collector and this "
        "view, each in a process of its own, on a socket in a temporary directory, and ends them all. Needs psutil, "
        f"and for the table rich: {_INSTALL}, or the package's extra demo.",
    )
    parser.add_argument("--seconds", type=seconds, metavar="N", help="end after so long (default: run until Ctrl-C)")
    parser.add_argument(
        "--interval", type=seconds, default=0.5, metavar="SECONDS", help="time between two scans (default: 0.5)"
    )


def _run(arguments: argparse.Namespace) -> int:
    if importlib.util.find_spec("psutil") is None:
        raise CliError(f"the demo reads the processes with psutil, which is not installed: {_INSTALL}")
    if sys.stdout.isatty() and importlib.util.find_spec("rich") is None:
        output.say(_PROG, f"lines instead of a table, since rich is not installed: {_INSTALL}")
    from daemoneye_eventbus._demo import demo  # noqa: PLC0415  # needs what was looked for above

    # Only in place of this one does asyncio turn an interrupt into a cancellation, which ends the children in order.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    failure = demo.run(arguments.seconds, arguments.interval)
    if failure is not None:
        raise CliError(failure)
    return OK
