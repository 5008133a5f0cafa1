"""A queue of waiting coroutines, woken one at a time or all at once. Cancelling one loses no wake-up."""

from __future__ import annotations

from bisect import insort
from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING

from daemoneye_eventbus._bindings import Waiter

if TYPE_CHECKING:
    import asyncio

__all__ = ["Waiters", "may_run_tasks"]

_place = attrgetter("place")


def may_run_tasks(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a task that is woken may run within a callback of ``loop``, which saves it a turn."""
    # Not a task that may run the loop itself, as with nest_asyncio: the loop could not call again meanwhile. In debug
    # mode the loop names what was slow: the task, and not this.
    return not (hasattr(loop, "_nest_patched") or loop.get_debug())


class Waiters:
    """Waiters, first in, first out.

    One that was woken and cannot use it must wake the next (`wake_one`). One that was woken in vain waits again in the
    place that it had.
    """

    __slots__ = ("queue",)

    def __init__(self) -> None:
        self.queue: deque[Waiter] = deque()

    def __len__(self) -> int:
        return len(self.queue)

    async def wait(self, waiter: Waiter, deadline: float | None = None) -> bool:
        """Waits until ``waiter``, which has joined, is woken; false at ``deadline`` of the loop's clock."""
        handle = None if deadline is None else waiter.get_loop().call_at(deadline, waiter.time_out)
        try:
            await waiter
        except BaseException as error:
            self.leave(waiter)
            # A signal handler may raise a ``TimeoutError`` of its own.
            if not isinstance(error, TimeoutError) or not waiter.timed_out():
                raise
            return False
        else:
            return True
        finally:
            if handle is not None:
                handle.cancel()

    def join(self, loop: asyncio.AbstractEventLoop, place: int | None = None) -> Waiter:
        """A new waiter at the end, or in the ``place`` that another had; not awaited until woken, it must `leave`."""
        waiter = Waiter(loop, place)
        if place is None:
            self.queue.append(waiter)
        else:
            insort(self.queue, waiter, key=_place)
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Removes a waiter."""
        if waiter in self.queue:
            self.queue.remove(waiter)
        elif not waiter.cancelled():
            # Woken in the same turn in which it was cancelled: another must be woken in its place.
            self.wake_one()

    def wake_one(self, *, direct: bool = False) -> None:
        """Wakes the first that still waits; ``direct``, for callbacks of the loop only: without another turn."""
        Waiter.wake_first(self.queue, direct)

    def wake_all(self) -> None:
        """Wakes everybody, in order."""
        while Waiter.wake_first(self.queue, False):
            pass
