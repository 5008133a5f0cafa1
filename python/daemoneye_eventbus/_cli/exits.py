"""How a command ends: one code for each thing that a script may want to do about it."""

from __future__ import annotations

import shutil
import textwrap
from typing import Final

from daemoneye_eventbus.errors import (
    AuthenticationFailed,
    BrokerAlreadyRunning,
    BrokerBusy,
    ConnectionLost,
    ConnectTimeout,
    PathRefused,
    PatternError,
    PermissionRefused,
)

__all__ = [
    "ERROR",
    "INTERRUPTED",
    "NO_BROKER",
    "OK",
    "READER_GONE",
    "REFUSED",
    "RUNNING",
    "TERMINATED",
    "TOO_FEW",
    "USAGE",
    "WARN",
    "CliError",
    "code_of",
    "table",
]

OK: Final = 0
ERROR: Final = 1
USAGE: Final = 2
RUNNING: Final = 3
REFUSED: Final = 4
NO_BROKER: Final = 5
TOO_FEW: Final = 6
WARN: Final = 7
INTERRUPTED: Final = 130
READER_GONE: Final = 141
TERMINATED: Final = 143

_MEANINGS: Final = {
    OK: "done; a broker: stopped by SIGTERM or SIGINT, after delivering what it could",
    ERROR: "any other error, such as a file that is not there",
    USAGE: "invalid command line: an unknown option, a bad value, topic or pattern",
    RUNNING: "a broker is already running at this path",
    REFUSED: "refused: the path cannot be used safely, this user may not do this, or the token is wrong",
    NO_BROKER: "no broker: none answered in time, it is busy, or the connection broke",
    TOO_FEW: "sub --count, decode --count: --timeout ended it first",
    WARN: "doctor: the broker works, but something needs attention",
    INTERRUPTED: "interrupted by Ctrl-C (all commands but broker); demo: by SIGTERM too",
    READER_GONE: "the reader of the output closed it, as in `| head -1`",
    TERMINATED: "ended by SIGTERM, as a shell shows it (all commands but broker and demo)",
}


class CliError(Exception):
    """Ends the command with a line and a code."""

    def __init__(self, message: str, code: int = ERROR, *, prog: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.prog = prog


def code_of(error: BaseException) -> int:
    """The exit code of what the library raised."""
    match error:
        case BrokerAlreadyRunning():
            return RUNNING
        case PatternError():
            return USAGE
        case PathRefused() | PermissionRefused() | AuthenticationFailed() | PermissionError():
            return REFUSED
        case ConnectTimeout() | BrokerBusy() | ConnectionLost():
            return NO_BROKER
        case _:
            return ERROR


def table() -> str:
    """The codes, for ``--help``, as wide as argparse makes the rest."""
    width = shutil.get_terminal_size().columns - 2
    wrap = textwrap.TextWrapper(max(width, 40), subsequent_indent=6 * " ", break_on_hyphens=False)
    return "exit codes:\n" + "\n".join(wrap.fill(f"  {code:<4}{meaning}") for code, meaning in _MEANINGS.items())
