"""How a loop that cannot watch descriptors hears the doorbell: it always reads from it.

Windows' own loop is of that kind, and so is any other whose ``add_reader`` says `NotImplementedError`. It cannot watch
a connection either; there a thread of Rust reads (`_reading`).
"""

from __future__ import annotations

import asyncio
import socket
import sys
import weakref
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from daemoneye_eventbus._border import Doorbell

__all__ = ["listen"]

_AT_ONCE: Final = 4096


def _family() -> socket.AddressFamily:
    if sys.platform == "win32":
        return socket.AF_INET
    return socket.AF_UNIX


def listen(loop: asyncio.AbstractEventLoop, bell: Doorbell, rung: Callable[[], object]) -> None:
    """Has ``rung`` called in the loop whenever somebody rings, for as long as there is a loop."""
    rope = socket.fromfd(bell.fileno(), _family(), socket.SOCK_STREAM)
    rope.setblocking(False)
    weakref.finalize(loop, rope.close)
    loop.call_soon(_Ear(loop, rope, rung).read)


class _Ear:
    """Awaits ``sock_recv`` over and over, in no task: who cancels all tasks, or waits for all, means others."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rope: socket.socket, rung: Callable[[], object]) -> None:
        self._loop = loop
        self._rope = rope
        self._rung = rung

    def read(self) -> None:
        """Begins a read."""
        self._go_on(self._loop.sock_recv(self._rope, _AT_ONCE))

    def _go_on(self, reading: Coroutine[Any, Any, bytes]) -> None:
        try:
            future = reading.send(None)
        except StopIteration as ended:
            if ended.value:
                # Not at once: the loop has its turn, however often somebody rings.
                self._loop.call_soon(self.read)
            # Last, for whoever is woken goes on in there, and may end the loop's run.
            self._rung()
        except (asyncio.CancelledError, OSError):
            # The loop is being closed, or the bell is gone.
            return
        else:
            # What a task says to a future that it has been handed.
            future._asyncio_future_blocking = False

            def done(_future: object) -> None:
                self._go_on(reading)

            future.add_done_callback(done)
