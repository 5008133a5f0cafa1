"""Threads of this package leave signals to the threads of the host.

A thread inherits the signal mask of the thread that starts it. One of ours that blocked nothing would get the signals
that the host blocks in its own threads: to wait for them (`signal.sigwait`, a signalfd), or to have none for a while.
"""

from __future__ import annotations

import importlib
import signal
import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["with_signals_blocked"]

T = TypeVar("T")

if sys.platform == "win32":

    def with_signals_blocked(start: Callable[[], T]) -> T:
        """There are no masks here."""
        return start()

else:
    # Raised by a fault of the thread itself. Blocked, they would end the process without running a handler.
    _OWN = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGSYS}
    _OTHERS = signal.valid_signals() - _OWN
    # The native function, which runs handlers once the mask is set. That of `signal` is Python code around it, at whose
    # beginning a handler may raise: the host's mask would not come back.
    _change_mask = importlib.import_module("_signal").pthread_sigmask

    def with_signals_blocked(start: Callable[[], T]) -> T:
        """What ``start`` returns; threads that it starts get no signal that another thread could get.

        The mask is as before whatever a signal handler raises, and whenever: in the call that blocks, within ``start``,
        and in the call that restores, which delivers what came meanwhile. No context manager: a handler may raise
        before its exit has begun.
        """
        # Blocks nothing. The call that does returns no mask if a handler raises in it.
        before = _change_mask(signal.SIG_BLOCK, ())
        try:
            _change_mask(signal.SIG_BLOCK, _OTHERS)
            return start()
        finally:
            _change_mask(signal.SIG_SETMASK, before)
