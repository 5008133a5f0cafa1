"""Sockets that a service manager hands over, as systemd does: ``LISTEN_PID``, ``LISTEN_FDS``, ``LISTEN_FDNAMES``."""

from __future__ import annotations

import os
import socket
from typing import Final

from daemoneye_eventbus._cli.exits import USAGE, CliError

__all__ = ["listener"]

_FIRST: Final = 3
_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


def listener() -> socket.socket | None:
    """The one socket that was handed to this process; none if none was. Our children will not find it."""
    said = {name: os.environ.pop(name, "") for name in _VARIABLES}
    # What was meant for a parent is inherited by its children, which must leave it alone.
    if said["LISTEN_PID"] != str(os.getpid()):
        return None
    count = said["LISTEN_FDS"]
    if count != "1":
        names = f" ({said['LISTEN_FDNAMES']})" if said["LISTEN_FDNAMES"] else ""
        raise CliError(f"LISTEN_FDS: a broker listens on one socket, and {count or 'none'} were given{names}", USAGE)
    try:
        return socket.socket(fileno=_FIRST)
    except OSError as error:
        raise CliError(f"LISTEN_FDS: descriptor {_FIRST} is no socket: {error.strerror}", USAGE) from None
