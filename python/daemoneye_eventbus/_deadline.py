"""Every wait has a deadline, and a deadline is a number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

__all__ = ["Deadline", "seconds"]


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

    def missed(self, what: str, advice: str) -> TimeoutError:
        """What it raises then: ``what`` has not happened, and what its caller can do about that."""
        return TimeoutError(f"{self._call}: {what} within {self.timeout:g} s; {advice}")
