"""Coroutines that stand in line for something: woken one at a time or all at once, never lost when one is cancelled."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

__all__ = ["Waiters"]


class Waiters:
    """A line of futures. Whoever was woken and cannot use it must pass it on (`wake_one`)."""

    __slots__ = ("_line",)

    def __init__(self) -> None:
        self._line: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._line)

    async def wait(self, loop: asyncio.AbstractEventLoop, deadline: float | None = None) -> None:
        """Stands at the end until woken; ``TimeoutError`` at ``deadline`` of the loop's clock."""
        future: asyncio.Future[None] = loop.create_future()
        self._line.append(future)
        handle = None if deadline is None else loop.call_at(deadline, _time_out, future)
        try:
            await future
        except BaseException:
            if future in self._line:
                self._line.remove(future)
            elif not future.cancelled():
                # Woken in the same turn in which we were cancelled: somebody else must get it.
                self.wake_one()
            raise
        finally:
            if handle is not None:
                handle.cancel()

    def wake_one(self) -> None:
        """Wakes the first who still waits."""
        while self._line:
            future = self._line.popleft()
            if not future.done():
                future.set_result(None)
                return

    def wake_all(self) -> None:
        """Wakes everybody, in order."""
        line, self._line = self._line, deque()
        for future in line:
            if not future.done():
                future.set_result(None)


def _time_out(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())
