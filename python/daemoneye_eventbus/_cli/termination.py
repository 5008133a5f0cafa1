"""A command is told to end: by SIGINT, as Ctrl-C sends it, or by SIGTERM, as supervisors, services and ``timeout`` do.

Both raise where the command is, which then ends in order, and whatever else goes wrong meanwhile, its exit code says
what told it. The next Ctrl-C ends it at once. A further SIGTERM changes nothing: whoever sends one often sends two, to
the process and to its group.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from daemoneye_eventbus._cli import output
from daemoneye_eventbus._cli.exits import INTERRUPTED, TERMINATED

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["call", "code", "die", "ignore", "listen"]

_BOTH: Final = (signal.SIGINT, signal.SIGTERM)
_told: Final[list[int]] = []


def code() -> int | None:
    """The exit code of a command that was told to end."""
    if not _told:
        return None
    return TERMINATED if _told[0] == signal.SIGTERM else INTERRUPTED


def listen() -> None:
    """Both raise ``KeyboardInterrupt`` from now on.

    asyncio's own handler would wait for the loop's next turn, and none comes while a write to a full pipe blocks it.
    """
    for number in _BOTH:
        signal.signal(number, _raise)


def call(stop: Callable[[], None]) -> None:
    """Both call ``stop`` in the running loop instead, and end a wait for a reader of stderr that blocks it."""
    if sys.platform == "win32":
        # Where nothing ends the reading of a pipe.
        return
    loop = asyncio.get_running_loop()

    def told(number: int, _frame: FrameType | None) -> None:
        _is_ending(number)
        if loop.is_closed():
            raise KeyboardInterrupt
        loop.call_soon_threadsafe(stop)

    for number in _BOTH:
        signal.signal(number, told)


def ignore() -> None:
    """The interpreter is at its end, which is bounded; an exception there would be a traceback."""
    for number in _BOTH:
        signal.signal(number, signal.SIG_IGN)


def die() -> None:
    """By SIGTERM: whoever sent it sees that it did what was asked, which to service managers is no failure."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTERM)


def _raise(number: int, _frame: FrameType | None) -> NoReturn:
    _is_ending(number)
    raise KeyboardInterrupt


def _is_ending(number: int) -> None:
    _told.append(number)
    output.wait_no_longer()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, _leave)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    # Raised there, it would leave tasks half closed and tracebacks.
    os._exit(INTERRUPTED)
