"""Deadlines of the waits that have one; what comes too late is a ``TimeoutError`` that says what was waited for.

`get` and `get_many` without a timeout have none, nor has `subscribe`: they wait for as long as there is a subscription
or a bus, while it reconnects too. `statistics`, `broker_statistics` and `clients` wait for as long as there is a
connection. ``connect_timeout`` bounds the connecting alone: of `connect`, and of `subscribe` with ``overflow="block"``.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Deadline", "QuietTimeout", "seconds"]


def seconds(name: str, value: object) -> float:
    """``value`` as seconds; below zero is now. Names the argument in what it raises."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name}: expected seconds as float, got {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isnan(number):
        raise ValueError(f"{name}: NaN is not a number of seconds")
    return number


class Deadline:
    """When ``call``, which may take ``timeout`` seconds from now, gives up."""

    def __init__(self, call: str, timeout: object, loop: asyncio.AbstractEventLoop) -> None:
        self._call: Final = call
        self.timeout: Final = max(seconds("timeout", timeout), 0.0)
        self.at: Final = loop.time() + self.timeout

    def limit(self) -> QuietTimeout:
        """Ends then what is awaited within it."""
        return QuietTimeout(asyncio.timeout_at(self.at))

    def missed(self, what: str, advice: str) -> TimeoutError:
        """What it raises then: ``what`` has not happened, and what its caller can do about that."""
        return TimeoutError(f"{self._call}: {what} within {self.timeout:g} s; {advice}")


class QuietTimeout:
    """A timeout of asyncio's that raises nothing: it has `expired`, or what is awaited within it came to its end.

    Any other ``TimeoutError`` passes through; a signal handler may raise one.
    """

    def __init__(self, timeout: asyncio.Timeout) -> None:
        self._timeout: asyncio.Timeout | None = timeout
        self.expired = False

    async def __aenter__(self) -> Self:
        if self._timeout is not None:
            await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, typ: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        # Not kept: it leads to the task, and so to what that raises next.
        timeout, self._timeout = self._timeout, None
        try:
            if timeout is not None:
                await timeout.__aexit__(typ, value, traceback)
        except TimeoutError:
            self.expired = True
        finally:
            del typ, value, traceback
        return self.expired
