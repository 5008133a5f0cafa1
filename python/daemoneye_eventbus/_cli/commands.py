"""How every command presents itself: wrapped text, the exit codes as a table, no abbreviations."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from daemoneye_eventbus._cli.exits import table

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Formatter", "command"]


class Formatter(argparse.HelpFormatter):
    """Text of one line is wrapped, a table is left as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


def command(
    commands: Any, name: str, *, run: Callable[[argparse.Namespace], int], help: str, description: str
) -> argparse.ArgumentParser:
    """A command's parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=description,
        epilog=table(),
        formatter_class=Formatter,
        # A script that abbreviates breaks with the next option.
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, command=name)
    return parser
