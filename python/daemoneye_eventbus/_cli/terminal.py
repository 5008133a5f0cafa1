"""A page that is drawn again in the same place, until somebody presses q; the terminal is left as it was found."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Self

from daemoneye_eventbus._cli import output

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Terminal"]

_CLEAR: Final = "\x1b[H\x1b[J"
_HOME: Final = "\x1b[H"
_END_OF_LINE: Final = "\x1b[K\n"
_BELOW: Final = "\x1b[J"
# A name may be wider than it counts: it is cut by the terminal's edge, and not continued on the next line.
_NO_WRAP, _WRAP = "\x1b[?7l\x1b[?25l", "\x1b[?7h\x1b[?25h"

Draw = Callable[[int, int], list[str]]


def _is_ours(descriptor: int) -> bool:
    """Whether this process is in the foreground of that terminal."""
    if sys.platform == "win32":
        return False
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False


class Terminal:
    """Does nothing where stdout is none."""

    def __init__(self, *, on: bool) -> None:
        self._on = on
        self._modes: list[Any] | None = None
        self._draw: Draw | None = None
        self._fresh = True
        self._quit = asyncio.Event()

    def __enter__(self) -> Self:
        if self._on:
            loop = asyncio.get_running_loop()
            if sys.platform != "win32":
                loop.add_signal_handler(signal.SIGWINCH, self._redraw)
                loop.add_signal_handler(signal.SIGCONT, self._back)
                for ending in (signal.SIGTERM, signal.SIGHUP):
                    loop.add_signal_handler(ending, self._follow, ending)
                loop.add_signal_handler(signal.SIGTSTP, self._stop)
            self._listen(loop)
            output.write(_NO_WRAP)
        return self

    def __exit__(
        self, typ: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._on:
            return
        if self._modes is not None:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        self._give_back()
        self._on = False

    def _give_back(self) -> None:
        """Sets the terminal as it was found, unless it is somebody else's now: setting it then would stop us."""
        if sys.platform != "win32" and self._modes is not None and _is_ours(sys.stdin.fileno()):
            import termios  # noqa: PLC0415  # not there on Windows

            with contextlib.suppress(termios.error):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._modes)
        output.write(_WRAP)

    def _follow(self, number: int) -> None:
        """Restores the terminal, then lets the signal take its default effect."""
        with contextlib.suppress(OSError, output.ReaderGone):
            self._give_back()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    def _stop(self) -> None:
        """Ctrl-Z: the shell that comes to the front has its cursor.

        Goes on from here when it is over, and at once where there is no shell to stop for and the signal does nothing.
        """
        if sys.platform != "win32":
            self._follow(signal.SIGTSTP)
            asyncio.get_running_loop().add_signal_handler(signal.SIGTSTP, self._stop)
            self._back()

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Keys one by one and unseen, if there is somebody to press them; Ctrl-C is a signal still."""
        if sys.platform == "win32":
            return
        import termios  # noqa: PLC0415  # not there on Windows
        import tty  # noqa: PLC0415  # the same

        try:
            descriptor = sys.stdin.fileno()
            # In the background the terminal is not ours to change: that would stop us.
            if not os.isatty(descriptor) or not _is_ours(descriptor):
                return
            self._modes = termios.tcgetattr(descriptor)
            tty.setcbreak(descriptor)
            loop.add_reader(descriptor, self._on_key)
        except (OSError, ValueError):
            return

    def _on_key(self) -> None:
        keys = os.read(sys.stdin.fileno(), 64)
        if not keys:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        if b"q" in keys or b"Q" in keys:
            self._quit.set()

    async def quit_within(self, timeout: float) -> bool:
        """Whether q was pressed in that time."""
        try:
            async with asyncio.timeout(timeout):
                await self._quit.wait()
        except TimeoutError:
            return False
        return True

    def show(self, draw: Draw) -> None:
        """Draws the page now, and again whenever the terminal's size changes."""
        self._draw = draw
        self._again()

    def leave_page(self) -> None:
        """What was drawn stays; the next page begins on an empty screen."""
        self._fresh = True

    def _back(self) -> None:
        """After a stop: sets the terminal again, which the shell has changed. Keys pressed meanwhile are kept."""
        if not self._on:
            return
        if sys.platform != "win32" and self._modes is not None:
            import termios  # noqa: PLC0415  # not there on Windows
            import tty  # noqa: PLC0415  # the same

            tty.setcbreak(sys.stdin.fileno(), termios.TCSANOW)
        self._fresh = True
        with contextlib.suppress(OSError, output.ReaderGone):
            output.write(_NO_WRAP)
        self._redraw()

    def _redraw(self) -> None:
        """As a callback: if the terminal is gone, the next page raises that."""
        with contextlib.suppress(OSError, output.ReaderGone):
            self._again()

    def _again(self) -> None:
        if self._draw is None:
            return
        try:
            size = os.get_terminal_size(sys.stdout.fileno())
            width, height = size.columns or 80, size.lines or 24
        except (OSError, ValueError):
            width, height = 80, 24
        # The cursor has the last row to itself: what goes beyond would move the page up.
        height = max(height - 1, 1)
        lines = self._draw(width, height)[:height]
        begin, self._fresh = (_CLEAR if self._fresh else _HOME), False
        output.write(begin + "".join(one + _END_OF_LINE for one in lines) + _BELOW)
