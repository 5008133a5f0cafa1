"""How a loop that cannot watch descriptors is woken: it always has a read of the waker's socket under way.

Windows' own loop is of that kind, and so is any other whose ``add_reader`` raises `NotImplementedError`. It cannot
watch a connection either; for that a thread of Rust reads (`_reading`).
"""

from __future__ import annotations

import asyncio
import functools
import socket
import sys
import weakref
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from daemoneye_eventbus._bindings import LoopWaker

__all__ = ["dispatch_by_reading"]

_AT_ONCE: Final = 4096
# How often the system may refuse to read; a signal handler does not raise ``OSError`` so often in a row.
_ATTEMPTS: Final = 4


def _family() -> socket.AddressFamily:
    if sys.platform == "win32":
        return socket.AF_INET
    return socket.AF_UNIX


def dispatch_by_reading(loop: asyncio.AbstractEventLoop, waker: LoopWaker, dispatch: Callable[[], object]) -> None:
    """Has ``dispatch`` called in the loop whenever it is woken, for as long as there is a loop."""
    sock = socket.fromfd(waker.fileno(), _family(), socket.SOCK_STREAM)
    sock.setblocking(False)
    weakref.finalize(loop, sock.close)
    _SocketReader(loop, sock, dispatch).read()


class _SocketReader:
    """Awaits ``sock_recv`` again and again. Not in a task, since the host may cancel all tasks, or wait for all.

    A signal handler may raise between any two steps of this and of the loop, which then drops the callback that was
    next. So each step is scheduled twice and done once; a read that was interrupted is cancelled, and another begins.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, dispatch: Callable[[], object]) -> None:
        self._loop = loop
        self._sock = sock
        self._dispatch = dispatch
        self._steps = 0
        self._failures = 0

    def read(self) -> None:
        """Has the loop begin a read in its next turn."""
        self._steps += 1
        for _ in range(2):
            self._loop.call_soon(self._step, self._steps, None)

    def _step(self, step: int, reading: Coroutine[Any, Any, bytes] | None, _future: object = None) -> None:
        if step != self._steps:
            return
        future = None
        try:
            self._steps += 1
            reading = reading or self._loop.sock_recv(self._sock, _AT_ONCE)
            try:
                future = reading.send(None)
            except StopIteration as ended:
                self._failures = 0
                if ended.value:
                    # In the next turn, so that others have one too, however often the loop is woken.
                    self.read()
                # Last, since tasks that are woken run within it, and may stop the loop.
                self._dispatch()
            except asyncio.CancelledError:
                # The loop is being closed.
                return
            else:
                # As a task does with a future that it was yielded.
                future._asyncio_future_blocking = False
                for _ in range(2):
                    future.add_done_callback(functools.partial(self._step, self._steps, reading))
        except BaseException as error:
            if not self._restarts(error, future):
                return
            raise

    def _restarts(self, error: BaseException, future: Any) -> bool:
        """Begins another read; false if the socket or the loop is gone."""
        self._failures += isinstance(error, OSError)
        if self._loop.is_closed() or self._failures >= _ATTEMPTS:
            return False
        self.read()
        # Something may have been read already.
        self._loop.call_soon(self._dispatch)
        if future is not None:
            future.cancel()
        return True
