"""The service manager's notifications: one datagram for each, to the socket that it named."""

from __future__ import annotations

import os
import socket
import sys
from typing import Final

from daemoneye_eventbus._cli.output import say

__all__ = ["notify"]

_SECONDS: Final = 1.0


def notify(prog: str, *states: str) -> None:
    """Tells the manager, if there is one. One that does not listen is worth a line, not the service."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if sys.platform == "win32" or not address:
        return
    if address[0] not in "/@":
        say(prog, f"NOTIFY_SOCKET is {address!r}, which is no local socket; not notified")
        return
    name = "\0" + address[1:] if address[0] == "@" else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.settimeout(_SECONDS)
            manager.connect(os.fsencode(name))
            manager.sendall("\n".join(states).encode(errors="surrogateescape"))
    except OSError as error:
        say(prog, f"the service manager was not notified: {error.strerror or error}")
