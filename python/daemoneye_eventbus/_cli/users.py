"""Users and groups as they are typed: by name, or by number where no name is known."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import Final

__all__ = ["group", "user"]

# The last one stands for nobody, as in chown.
_MOST: Final = 2**32 - 1


def user(said: str) -> int:
    """The uid."""
    if (number := _number(said)) is not None:
        return number
    if sys.platform != "win32":
        import pwd  # noqa: PLC0415  # not there on Windows

        with contextlib.suppress(KeyError):
            return pwd.getpwnam(said).pw_uid
    raise argparse.ArgumentTypeError(f"there is no user {said!r}")


def group(said: str) -> int:
    """The gid."""
    if (number := _number(said)) is not None:
        return number
    if sys.platform != "win32":
        import grp  # noqa: PLC0415  # the same

        with contextlib.suppress(KeyError):
            return grp.getgrnam(said).gr_gid
    raise argparse.ArgumentTypeError(f"there is no group {said!r}")


def _number(said: str) -> int | None:
    return int(said) if said.isascii() and said.isdigit() and int(said) < _MOST else None
