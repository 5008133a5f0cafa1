"""The command line: one file per command, everything shared beside them.

Results go to stdout, everything else to stderr, in lines. A command either returns its exit code or raises; here alone
an exception becomes a line and a code, so that no command ends in a traceback for something its user did.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import re
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

from daemoneye_eventbus import __version__
from daemoneye_eventbus._cli import broker, clients, decode, demo, doctor, pub, stats, sub, termination, top
from daemoneye_eventbus._cli.commands import Formatter
from daemoneye_eventbus._cli.exits import INTERRUPTED, OK, READER_GONE, TERMINATED, USAGE, CliError, code_of, table
from daemoneye_eventbus._cli.output import ReaderGone, discard_stdout, prepare_streams, say, settle, write
from daemoneye_eventbus._cli.wording import in_options
from daemoneye_eventbus.errors import EventBusError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_NAME: Final = "daemoneye-eventbus"
_OPTION: Final = re.compile(r"--\w|-[^\W\d]")


class _Parser(argparse.ArgumentParser):
    """An error is one line: where it stands in the usage is asked for with ``--help``."""

    words: Sequence[str] = ()
    """The whole command line."""

    def parse_known_args(self, *args: Any, **named: Any) -> tuple[Any, list[str]]:
        """Leaves nothing to whoever is above: the help of the innermost parser has the options that could be meant."""
        found, left = super().parse_known_args(*args, **named)
        if left:
            self.error(f"unrecognized arguments: {' '.join(left)}")
        return found, left

    def error(self, message: str) -> NoReturn:
        # Where something is missing as well, argparse tells that and not the misspelt option, which often is the cause.
        if unknown := self._unknown():
            message = f"unrecognized arguments: {' '.join(unknown)}"
        raise CliError(f"{message}; see {self.prog} --help", USAGE, prog=self.prog)

    def _unknown(self) -> list[str]:
        """What reads as an option of this command, and is none."""
        at = 0
        for name in self.prog.split()[1:]:
            at = self.words.index(name, at) + 1
        # A command's own options stand behind its name; what is behind `--` is none.
        ends = _OPTION.match if self._subparsers else "--".__ne__
        own = itertools.takewhile(ends, self.words[at:])
        return [
            word for word in own if _OPTION.match(word) and word.partition("=")[0] not in self._option_string_actions
        ]


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    _Parser.words = words
    parser = _Parser(
        prog=_NAME,
        description="Run, watch and use a local event bus.",
        epilog=table(),
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (demo, broker, sub, pub, top, clients, stats, decode, doctor):
        command.add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["broker"]:
        # Before anything takes time: a terminal may be closed, or a manager ask for a reload, while it starts.
        broker.ignore_hang_up()
    try:
        termination.listen()
        code = _run(words)
    except KeyboardInterrupt:
        # What a full pipe did not take is in the buffer; the interpreter would wait for it at its end.
        discard_stdout()
        code = INTERRUPTED
    finally:
        termination.ignore()
        settle()
    code = termination.code() or code
    if code == TERMINATED:
        termination.die()
    return code


def _run(words: Sequence[str]) -> int:
    prog = _NAME
    try:
        prepare_streams()
        arguments = _parse(words)
        if arguments is None:
            return OK
        prog = f"{prog} {arguments.command}"
        code: int = arguments.run(arguments)
    except (ReaderGone, BrokenPipeError):
        discard_stdout()
        return READER_GONE
    except CliError as error:
        say(error.prog or prog, str(error))
        return error.code
    except (EventBusError, OSError, MemoryError) as error:
        if isinstance(error, OSError) and not isinstance(error, EventBusError):
            # What could not be written stays in the buffer, and the interpreter would fail over it once more.
            discard_stdout()
        say(prog, in_options(_error_text(error)))
        return code_of(error)
    return code


def _error_text(error: EventBusError | OSError | MemoryError) -> str:
    if isinstance(error, OSError) and not isinstance(error, EventBusError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if isinstance(error.filename, str) else error.strerror
    return str(error) or ("out of memory" if isinstance(error, MemoryError) else type(error).__name__)


def _parse(words: Sequence[str]) -> argparse.Namespace | None:
    """The arguments; None if they asked for help or the version, which has been printed."""
    printed = io.StringIO()
    try:
        # argparse ignores that nobody reads what it prints.
        with contextlib.redirect_stdout(printed):
            return _parser(words).parse_args(words)
    except SystemExit:
        write(printed.getvalue())
        return None
