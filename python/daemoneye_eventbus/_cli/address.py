"""Which broker a command means, and how it speaks to it."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from daemoneye_eventbus import ClientConfig, EventBus
from daemoneye_eventbus._cli.exits import REFUSED, USAGE, CliError, code_of
from daemoneye_eventbus._cli.options import build
from daemoneye_eventbus._cli.users import uid_of
from daemoneye_eventbus._native import Address

if TYPE_CHECKING:
    from daemoneye_eventbus._opening import Opening

__all__ = [
    "VARIABLE",
    "add_client",
    "add_where",
    "address",
    "connect",
    "explicit_path",
    "seconds",
    "seconds_from_zero",
    "token_from",
    "token_of",
    "trusted",
    "where",
]

VARIABLE: Final = "DAEMONEYE_BROKER_SOCKET"
_LONGEST_TOKEN: Final = 4096
_MOST_SECONDS: Final = 10**9
_MAKE_ONE: Final = "make one with openssl rand -hex 32"
_PATIENCE: Final = "how long to wait for a broker that is not running yet (default: 5)"


def seconds(text: str) -> float:
    """A positive number of seconds."""
    return _seconds(text, "above 0", least=sys.float_info.min)


def seconds_from_zero(text: str) -> float:
    """A number of seconds that may be 0."""
    return _seconds(text, "of at least 0", least=0)


def _seconds(text: str, said: str, *, least: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    # A NaN is in no range.
    if not least <= value <= _MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds {said} and at most {_MOST_SECONDS}")
    return value


def trusted(arguments: argparse.Namespace) -> tuple[int, ...] | None:
    """Users whose broker may be spoken to; None for the library's default."""
    if hasattr(arguments, "server_sid") and sys.platform != "win32":
        raise CliError("--server-sid: has no effect on Unix; use --server-uid", USAGE)
    given: list[int] | None = getattr(arguments, "server_uid", None)
    return None if given is None else tuple(given)


def add_where(parser: argparse.ArgumentParser, *, positional: str | None = None) -> None:
    """``--path`` and ``--instance``, and where ``positional`` says what it is for PATH alone as well."""
    # Absent, not None: a subcommand's parser must not overwrite what stood before it.
    group = parser.add_mutually_exclusive_group()
    if positional is not None:
        group.add_argument("where", nargs="?", metavar="PATH", help=f"{positional}; the same as --path")
    group.add_argument(
        "--path", default=argparse.SUPPRESS, dest="socket", help=f"the broker's socket (default: ${VARIABLE})"
    )
    group.add_argument(
        "--instance",
        metavar="NAME",
        default=argparse.SUPPRESS,
        help="the broker at /tmp/daemoneye-NAME.sock, on Windows \\\\.\\pipe\\DaemonEye-NAME",
    )


def add_client(parser: argparse.ArgumentParser, *, positional: str | None = None, patience: str = _PATIENCE) -> None:
    """Everything that a command needs which talks to a broker."""
    add_where(parser, positional=positional)
    parser.add_argument(
        "--connect-timeout",
        type=seconds,
        metavar="SECONDS",
        default=argparse.SUPPRESS,
        help=patience,
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="file with the token, readable by its owner only",
    )
    parser.add_argument(
        "--server-uid",
        type=uid_of,
        action="append",
        metavar="USER",
        default=argparse.SUPPRESS,
        help="user whose broker is trusted, by name or uid; several may be given (default: this user and root)",
    )
    parser.add_argument(
        "--server-sid",
        action="append",
        metavar="SID",
        default=argparse.SUPPRESS,
        help="on Windows, the SID whose broker is trusted (default: this user, SYSTEM and Administrators)",
    )


def explicit_path(arguments: argparse.Namespace) -> Path | None:
    """The socket's absolute path as the arguments say it; None if only the environment may say it."""
    path, instance = _given_address(arguments)
    return None if path is None and instance is None else _address(path, instance).path


def where(arguments: argparse.Namespace) -> tuple[str | None, str | None]:
    """Path and instance, one of them None; checked, so that a bad one is an error of usage."""
    path, instance = _given_address(arguments)
    if path is None and instance is None:
        path = os.environ.get(VARIABLE) or None
        if path is None:
            raise CliError(f"give --path or --instance, or set {VARIABLE}", USAGE)
    _address(path, instance)
    return path, instance


def address(arguments: argparse.Namespace) -> Address:
    """The same, as the library keeps it; raises `PathRefused` for what no socket can have as its path."""
    return _address(*where(arguments))


def _given_address(arguments: argparse.Namespace) -> tuple[str | None, str | None]:
    path = getattr(arguments, "where", None)
    path = getattr(arguments, "socket", None) if path is None else path
    if path == "":
        # Most often the variable in its place is not set.
        raise CliError("the path is empty; give the broker's socket, or leave the argument out", USAGE)
    instance = getattr(arguments, "instance", None)
    if path is not None and instance is not None:
        raise CliError("--path and --instance exclude each other", USAGE)
    return path, instance


def _address(path: str | None, instance: str | None) -> Address:
    try:
        return Address(instance=instance) if path is None else Address(path=path)
    except (ValueError, TypeError) as error:
        raise CliError(str(error), USAGE) from None


def _others_may(path: Path, status: os.stat_result) -> bool:
    """Whether anybody but the owner may read or write it. The mode of a pipe, or of a file of Windows, says nothing."""
    if sys.platform == "win32" or not stat.S_ISREG(status.st_mode):
        return False
    others = stat.S_IRWXG | stat.S_IRWXO
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if directory and status.st_uid in {0, os.geteuid()} and path.resolve().is_relative_to(Path(directory).resolve()):
        # systemd lets the user of a unit read it by an access list, whose mask shows in place of the group's rights.
        others &= ~stat.S_IRGRP
    return bool(status.st_mode & others)


def token_from(name: str) -> bytes:
    """What the file holds, without the end of its line. A file that others can read holds no secret."""
    path = Path(name)
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if _others_may(path, status):
                mode = stat.S_IMODE(status.st_mode)
                raise CliError(f"token file {name}: others may read it (mode {mode:04o}); chmod 600 it", REFUSED)
            token = file.read(_LONGEST_TOKEN + 1)
    except OSError as error:
        raise CliError(f"token file {name}: {error.strerror}", code_of(error)) from None
    token = token.rstrip(b"\r\n")
    if len(token) > _LONGEST_TOKEN:
        raise CliError(f"token file {name}: more than {_LONGEST_TOKEN} bytes; {_MAKE_ONE}", USAGE)
    try:
        ClientConfig(token=token)
    except ValueError as error:
        # Here it is known which of several files it is.
        said = str(error).removeprefix("ClientConfig.token: ").partition(";")[0]
        raise CliError(f"token file {name}: {said}; {_MAKE_ONE}", USAGE) from None
    return token


def token_of(arguments: argparse.Namespace) -> bytes | None:
    """The token that the arguments name, if they do."""
    name = getattr(arguments, "token_file", None)
    return None if name is None else token_from(name)


def connect(arguments: argparse.Namespace, **settings: Any) -> Opening[EventBus]:
    """A bus to the broker that the arguments mean."""
    path, instance = where(arguments)
    if (timeout := getattr(arguments, "connect_timeout", None)) is not None:
        settings["connect_timeout"] = timeout
    if (uids := trusted(arguments)) is not None:
        settings["server_uids"] = uids
    if (sids := getattr(arguments, "server_sid", None)) is not None:
        settings["server_sids"] = tuple(sids)
    if (token := token_of(arguments)) is not None:
        settings["token"] = token
    return EventBus.connect(path, instance=instance, config=build(ClientConfig, settings))
