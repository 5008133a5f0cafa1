"""How every command presents itself: wrapped text, the exit codes as a table, no abbreviations."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from daemoneye_eventbus._cli.exits import table
from daemoneye_eventbus._cli.options import documentation_of_native

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FieldFormatter", "Formatter", "command"]


class Formatter(argparse.HelpFormatter):
    """Text of one line is wrapped, a table is left as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


class FieldFormatter(Formatter):
    """Where an option's help is ``Class.field`` it is what the extension's stub says of that field, read when asked."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        cls, _, field = (action.help or "").partition(".")
        if not (cls.isidentifier() and field.isidentifier()):
            return action.help
        return documentation_of_native(cls).get(field, "").replace("%", "%%")


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
