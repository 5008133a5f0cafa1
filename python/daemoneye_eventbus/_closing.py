"""How far something has been closed.

A signal handler may raise between any two steps. A close that was interrupted so is begun, and refuses new work, but it
is neither under way nor done: the next call goes through all steps again. So each step does nothing where it was done
before.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["Closing"]

_LOOK_SECONDS: Final = 0.005


class Closing:
    """Not begun, begun, or done."""

    __slots__ = ("_is_running", "begun", "done")

    def __init__(self) -> None:
        self.begun = False
        self.done = False
        self._is_running = False

    async def run(self, steps: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Goes through ``steps``, which may wait, until they are done: by this call or by another, which it waits for.

        Either can be cancelled without the other; what the one has left to do, the other does.
        """
        # A wake-up could be interrupted too, and then nobody would ever be woken.
        while self._is_running:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_SECONDS)
        if self.done:
            return
        try:
            self.begun = self._is_running = True
            await steps()
            self.done = True
        finally:
            self._is_running = False

    def begin(self, steps: Callable[[], object]) -> None:
        """Goes through those of the steps that do not wait, if it is not done; the rest is left to other calls."""
        if not self.done:
            self.begun = True
            steps()

    def run_at_once(self, steps: Callable[[], object]) -> None:
        """As `run` for steps that do not wait, from any thread."""
        if not self.done:
            self.begin(steps)
            self.done = True
