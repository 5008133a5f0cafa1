"""Coroutines that stand in line for something: woken one at a time or all at once, never lost when one is cancelled."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from daemoneye_eventbus._bindings import Waiter

if TYPE_CHECKING:
    import asyncio

__all__ = ["Waiters"]


class Waiters:
    """A line of waiters. Whoever was woken and cannot use it must pass it on (`wake_one`)."""

    __slots__ = ("queue",)

    def __init__(self) -> None:
        self.queue: deque[Waiter] = deque()

    def __len__(self) -> int:
        return len(self.queue)

    async def wait(self, loop: asyncio.AbstractEventLoop, deadline: float | None = None) -> bool:
        """Stands at the end until woken; false at ``deadline`` of the loop's clock."""
        waiter = self.join(loop)
        handle = None if deadline is None else loop.call_at(deadline, waiter.time_out)
        try:
            await waiter
        except BaseException as error:
            self.leave(waiter)
            # One that a signal's handler raises is none of ours.
            if not isinstance(error, TimeoutError) or not waiter.timed_out():
                raise
            return False
        else:
            return True
        finally:
            if handle is not None:
                handle.cancel()

    def join(self, loop: asyncio.AbstractEventLoop) -> Waiter:
        """A new place at the end; whoever does not wait to its end must `leave`."""
        waiter = Waiter(loop)
        self.queue.append(waiter)
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Gives up a place."""
        if waiter in self.queue:
            self.queue.remove(waiter)
        elif not waiter.cancelled():
            # Woken in the same turn in which it was cancelled: somebody else must get it.
            self.wake_one()

    def wake_one(self, *, direct: bool = False) -> None:
        """Wakes the first who still waits; ``direct``, in a callback of the loop: without another turn."""
        Waiter.wake_first(self.queue, direct)

    def wake_all(self) -> None:
        """Wakes everybody, in order."""
        while Waiter.wake_first(self.queue, False):
            pass
