"""Fork and the end of the interpreter.

A forked child disowns everything of its parent. At exit, brokers that still run are warned about and
stopped within bounds; what was accepted and not sent is warned about.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import sys
import warnings
import weakref
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from daemoneye_eventbus import _logs, _native

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["after_fork", "is_forked", "is_left_in_fork", "watch_broker", "watch_link"]

T = TypeVar("T")

_BROKER_SECONDS: Final = 0.5
_CLIENT_SECONDS: Final = 0.5


class _WeakRegistry(Generic[T]):
    """Objects that have not been collected yet. Other threads add and collect meanwhile, also while the interpreter
    ends, so each of these is one operation of a dict."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._references: dict[int, weakref.ref[T]] = {}

    def add(self, one: T) -> Callable[[], object]:
        """Watches ``one``. The result ends that."""
        number, references = next(self._numbers), self._references
        # No Python function: it would run below native code, where the interpreter's end cannot unwind a daemon thread.
        references[number] = weakref.ref(one, functools.partial(references.pop, number))
        return functools.partial(references.pop, number, None)

    def all(self) -> list[T]:
        found = (reference() for reference in self._references.copy().values())
        return [one for one in found if one is not None]

    def clear(self) -> None:
        self._references.clear()


_brokers: Final[_WeakRegistry[_native.BrokerCore]] = _WeakRegistry()
_links: Final[_WeakRegistry[_native.Link]] = _WeakRegistry()
_forgetters: Final[list[Callable[[], object]]] = []


def watch_broker(broker: _native.BrokerCore) -> Callable[[], object]:
    """Stops it at exit, if it still runs then. The result ends that."""
    return _brokers.add(broker)


def watch_link(link: _native.Link) -> Callable[[], object]:
    """Counts at exit what it has not sent then. The result ends that, for whoever has told it before."""
    return _links.add(link)


def is_forked(pid: int) -> bool:
    """Whether what was made in process ``pid`` is met in a forked child."""
    return pid != os.getpid()


def is_left_in_fork(error: BaseException | None, pid: int) -> bool:
    """Whether ``error`` leaves a block in a forked child, where all that the block holds belongs to the parent."""
    return error is not None and is_forked(pid)


def after_fork(forget: Callable[[], object]) -> None:
    """Calls ``forget`` in each forked child, after native objects were disowned."""
    _forgetters.append(forget)


def _at_exit() -> None:
    _native.begin_exit()
    running = [broker for broker in _brokers.all() if broker.running]
    for broker in _brokers.all():
        broker.stop(_BROKER_SECONDS)
    _native.shut_down_clients(_CLIENT_SECONDS)
    # Each of these may raise.
    try:
        _logs.emit()
    finally:
        _warn(running)


def _warn(running: list[_native.BrokerCore]) -> None:
    for broker in running:
        warnings.warn(
            f"the broker at {broker.address.path} still ran when the interpreter ended; shut it down or use async with",
            ResourceWarning,
            stacklevel=1,
        )
    unsent = sum(link.unsent for link in _links.all())
    if unsent:
        warnings.warn(
            f"{unsent} published messages were not sent when the interpreter ended", ResourceWarning, stacklevel=1
        )


def _after_fork() -> None:
    _native.after_fork_in_child()
    _logs.forget()
    _brokers.clear()
    _links.clear()
    for forget in _forgetters:
        forget()


atexit.register(_at_exit)
if sys.platform != "win32":
    os.register_at_fork(after_in_child=_after_fork)
