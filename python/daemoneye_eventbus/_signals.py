"""Threads of this package leave signals to the threads of the host.

A thread inherits the signal mask of the thread that starts it. One of ours that blocked nothing would get the signals
that the host blocks in its own threads: to wait for them (`signal.sigwait`, a signalfd), or to have none for a while.
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
    # Raised by a fault of the thread itself. Blocked, they would end the process without running a handler.
    _OWN = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGSYS}
    _OTHERS = signal.valid_signals() - _OWN

    @contextlib.contextmanager
    def signals_blocked() -> Generator[None]:
        """Threads that are started within it get no signal that another thread could get."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _OTHERS)
        try:
            yield
        finally:
            # Signals that came meanwhile are delivered here, and their handlers may raise.
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
