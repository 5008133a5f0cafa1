"""``doctor``: what keeps a broker's clients from working, from the path to the drops, and what to do about it.

Changes nothing: no directory is made, no lock taken, no stale socket removed. It connects as a client does and asks.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Any, Final

from daemoneye_eventbus._cli import examine, output
from daemoneye_eventbus._cli.address import add_client, address, token_of, trusted
from daemoneye_eventbus._cli.commands import command
from daemoneye_eventbus._cli.examine import Finding
from daemoneye_eventbus._cli.exits import NO_BROKER, OK, REFUSED, WARN
from daemoneye_eventbus._cli.health import broker
from daemoneye_eventbus.errors import PathRefused

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

__all__ = ["add"]

_INDENT: Final = 17 * " "
# The first of these that occurs is the end.
_WORST: Final = (REFUSED, NO_BROKER, WARN)


def add(commands: Any) -> None:
    """Adds the command."""
    parser = command(
        commands,
        "doctor",
        run=_run,
        help="find out what is wrong with a broker or its path",
        description="Check the path, its directories and their owners, the socket, the lock, whether a broker answers, "
        "its version, its clients and what it dropped, and say what to do. Changes nothing. Run it as the user whose "
        "programs cannot connect, or as the broker's.",
    )
    add_client(parser, positional="the broker's socket", patience="how long to wait for each answer (default: 2)")
    parser.add_argument("--json", action="store_true", help="one JSON object per finding")


def _run(arguments: argparse.Namespace) -> int:
    findings: list[Finding] = []
    try:
        place = address(arguments)
    except PathRefused as error:
        findings.append(Finding("bad", "path", str(error), code=REFUSED))
    else:
        given = trusted(arguments)
        servers = examine.usual() if given is None else given
        findings += examine.place(place, servers)
        # Where no broker can be, none is looked for.
        if _is_socket(place.path) or all(one.code == OK for one in findings):
            findings += broker(place.path, token_of(arguments), servers, getattr(arguments, "connect_timeout", 2.0))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for one in findings:
        output.write((json.dumps(one.plain()) if arguments.json else _text(one, width)) + "\n")
    codes = {one.code for one in findings}
    return next((code for code in _WORST if code in codes), OK)


def _is_socket(path: Path) -> bool:
    try:
        return path.is_socket()
    except OSError:
        return False


def _text(one: Finding, width: int) -> str:
    """A line, and one below it for what to do; on a terminal wrapped."""
    wrap = textwrap.TextWrapper(
        max(width, 40), subsequent_indent=_INDENT, break_long_words=False, break_on_hyphens=False
    )
    lines = wrap.wrap(f"{one.level:<5} {one.subject:<10} {output.escape(one.text)}")
    if one.advice is not None:
        wrap.initial_indent = _INDENT
        lines += wrap.wrap(output.escape(one.advice))
    return "\n".join(lines)
