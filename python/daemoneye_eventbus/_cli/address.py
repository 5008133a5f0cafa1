"""Which broker a command means, and how it speaks to it."""

from __future__ import annotations

import argparse
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from daemoneye_eventbus import ClientConfig, EventBus
from daemoneye_eventbus._cli.exits import REFUSED, USAGE, CliError
from daemoneye_eventbus._native import Address

if TYPE_CHECKING:
    from daemoneye_eventbus._opening import Opening

__all__ = ["VARIABLE", "add_client", "add_where", "connect", "seconds", "token_from", "where"]

VARIABLE: Final = "DAEMONEYE_BROKER_SOCKET"
_LONGEST_TOKEN: Final = 4096


def seconds(text: str) -> float:
    """A positive number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    # A NaN is in no range.
    if not 0 < value <= 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return value


def add_where(parser: argparse.ArgumentParser, *, positional: bool = False) -> None:
    """``--path`` and ``--instance``, and for the broker PATH alone as well."""
    # Absent, not None: a subcommand's parser must not overwrite what stood before it.
    group = parser.add_mutually_exclusive_group()
    if positional:
        group.add_argument("where", nargs="?", metavar="PATH", help="socket to listen on; the same as --path")
    group.add_argument(
        "--path", default=argparse.SUPPRESS, dest="socket", help=f"the broker's socket (default: ${VARIABLE})"
    )
    group.add_argument(
        "--instance", metavar="NAME", default=argparse.SUPPRESS, help="the broker at /tmp/daemoneye-NAME.sock"
    )


def add_client(parser: argparse.ArgumentParser) -> None:
    """Everything that a command needs which talks to a broker."""
    add_where(parser)
    parser.add_argument(
        "--connect-timeout",
        type=seconds,
        metavar="SECONDS",
        default=argparse.SUPPRESS,
        help="how long to wait for a broker that is not there yet (default: 5)",
    )
    parser.add_argument(
        "--token-file", metavar="FILE", default=argparse.SUPPRESS, help="file with the token, open to its owner only"
    )


def where(arguments: argparse.Namespace) -> tuple[str | None, str | None]:
    """Path and instance, one of them None; checked, so that a bad one is an error of usage."""
    path = getattr(arguments, "where", None) or getattr(arguments, "socket", None)
    instance = getattr(arguments, "instance", None)
    if path is None and instance is None:
        path = os.environ.get(VARIABLE) or None
        if path is None:
            raise CliError(f"give --path or --instance, or set {VARIABLE}", USAGE)
    if path is not None and instance is not None:
        raise CliError("--path and --instance exclude each other", USAGE)
    try:
        Address(instance=instance) if path is None else Address(path=Path(path))
    except (ValueError, TypeError) as error:
        raise CliError(str(error), USAGE) from None
    return path, instance


def token_from(name: str) -> bytes:
    """What the file holds, without the end of its line. A file that others can read holds no secret."""
    try:
        with Path(name).open("rb") as file:
            status = os.fstat(file.fileno())
            # Windows has access lists, and a mode that says nothing of them.
            if os.name == "posix" and stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
                mode = stat.S_IMODE(status.st_mode)
                raise CliError(f"token file {name}: others may read it (mode {mode:04o}); chmod 600 it", REFUSED)
            token = file.read(_LONGEST_TOKEN + 1)
    except OSError as error:
        raise CliError(f"token file {name}: {error.strerror}", REFUSED) from None
    token = token.rstrip(b"\r\n")
    if len(token) > _LONGEST_TOKEN:
        raise CliError(f"token file {name}: more than {_LONGEST_TOKEN} bytes; 32 random ones are good", USAGE)
    return token


def connect(arguments: argparse.Namespace, **settings: Any) -> Opening[EventBus]:
    """A bus to the broker that the arguments mean."""
    path, instance = where(arguments)
    if (timeout := getattr(arguments, "connect_timeout", None)) is not None:
        settings["connect_timeout"] = timeout
    if (token := getattr(arguments, "token_file", None)) is not None:
        settings["token"] = token_from(token)
    try:
        config = ClientConfig(**settings)
    except (ValueError, TypeError) as error:
        raise CliError(str(error).removeprefix("ClientConfig."), USAGE) from None
    return EventBus.connect(path, instance=instance, config=config)
