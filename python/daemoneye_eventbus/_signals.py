"""Signals are for the threads of the host.

A thread begins with the mask of whoever starts it. One of ours that blocks nothing would take what the host blocks in
its own threads: to wait for it (`signal.sigwait`, a signalfd), or to be left alone for a while.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["signals_blocked"]

if sys.platform == "win32":

    @contextlib.contextmanager
    def signals_blocked() -> Generator[None]:
        """There are no masks here."""
        yield

else:
    # What a thread does wrong itself is its own signal; blocked, it would end the process without a word.
    _OWN = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGSYS}
    _OTHERS = signal.valid_signals() - _OWN

    @contextlib.contextmanager
    def signals_blocked() -> Generator[None]:
        """A thread that is started in here gets no signal that another thread could get."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _OTHERS)
        try:
            yield
        finally:
            # What has come meanwhile is delivered here, and its handler may raise.
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
