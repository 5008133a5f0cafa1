"""Users and groups: as they are typed, by name or by number where no name is known, and as they are shown."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import Final

from daemoneye_eventbus._checks import own_uid
from daemoneye_eventbus._cli.exits import CliError

__all__ = ["effective_uid", "gid_of", "shown", "uid_of"]

# The last one stands for nobody, as in chown.
_MOST: Final = 2**32 - 1


def effective_uid() -> int:
    """The uid whose rights this process has. Not reached on Windows, where users have no numbers."""
    uid = own_uid()
    if uid is None:
        raise CliError("users have no numbers on Windows")
    return uid


def shown(uid: int) -> str:
    """A user as people know it."""
    if sys.platform != "win32":
        import pwd  # noqa: PLC0415  # not there on Windows

        with contextlib.suppress(KeyError):
            return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    return f"uid {uid}"


def uid_of(said: str) -> int:
    """The number of a user who is given by name or by number."""
    if (number := _number(said)) is not None:
        return number
    if sys.platform != "win32":
        import pwd  # noqa: PLC0415  # the same

        with contextlib.suppress(KeyError):
            return pwd.getpwnam(said).pw_uid
    raise argparse.ArgumentTypeError(f"there is no user {said!r}")


def gid_of(said: str) -> int:
    """The number of a group that is given by name or by number."""
    if (number := _number(said)) is not None:
        return number
    if sys.platform != "win32":
        import grp  # noqa: PLC0415  # the same

        with contextlib.suppress(KeyError):
            return grp.getgrnam(said).gr_gid
    raise argparse.ArgumentTypeError(f"there is no group {said!r}")


def _number(said: str) -> int | None:
    return int(said) if said.isascii() and said.isdigit() and int(said) < _MOST else None
