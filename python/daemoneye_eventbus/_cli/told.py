"""A command is told to end: by SIGINT, as Ctrl-C sends it, or by SIGTERM, as supervisors, services and ``timeout`` do.

Both raise where the command is, which then ends in order. The next Ctrl-C ends it at once. A further SIGTERM changes
nothing: whoever sends one often sends two, to the process and to its group.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Final, NoReturn

from daemoneye_eventbus._cli.exits import INTERRUPTED, TERMINATED

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["Told", "call", "die", "ignore", "listen"]

_BOTH: Final = (signal.SIGINT, signal.SIGTERM)


class Told(KeyboardInterrupt):
    """By this signal."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = TERMINATED if number == signal.SIGTERM else INTERRUPTED


def listen() -> None:
    """Both raise `Told` from now on.

    asyncio's own handler would wait for the loop's next turn, and none comes while a write to a full pipe blocks it.
    """
    for number in _BOTH:
        signal.signal(number, _raise)


def call(stop: Callable[[int], None]) -> None:
    """Both call ``stop`` in the running loop instead, for a command that never blocks it."""
    loop = asyncio.get_running_loop()

    def told(number: int) -> None:
        for one in _BOTH:
            loop.remove_signal_handler(one)
        _is_ending()
        stop(number)

    try:
        for number in _BOTH:
            loop.add_signal_handler(number, told, number)
    except NotImplementedError:
        # A loop that cannot watch signals, as on Windows.
        return


def ignore() -> None:
    """The interpreter is at its end, which is bounded; an exception there would be a traceback."""
    for number in _BOTH:
        signal.signal(number, signal.SIG_IGN)


def die() -> None:
    """By SIGTERM: whoever sent it sees that it did what was asked, which to service managers is no failure."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTERM)


def _raise(number: int, _frame: FrameType | None) -> NoReturn:
    _is_ending()
    raise Told(number)


def _is_ending() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, _leave)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    # Raised there, it would leave tasks half closed and tracebacks.
    os._exit(INTERRUPTED)
