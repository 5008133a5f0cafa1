"""The changes of a bus's state, in order.

Each change that the loop has heard of is kept until it is asked for; of those that it has not, while it was blocked, a
connection keeps the last 64. Not an async generator: a wait that is cancelled, by a time limit say, would end a
generator for good, and the iteration would look as if the bus had been closed.
"""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final, Never

from daemoneye_eventbus._types import State
from daemoneye_eventbus._waiters import Waiters

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemoneye_eventbus._backend import Backend

__all__ = ["StateChanges", "StateIterator"]


class StateIterator(AsyncIterator[State]):
    """Each change from now on; ends after ``closed``."""

    __slots__ = ()

    @abstractmethod
    async def aclose(self) -> None:
        """Ends the iteration, also for tasks that wait."""


class StateChanges(StateIterator):
    """What a bus hands out as one."""

    __slots__ = ("__weakref__", "_bridge", "_changes", "_ended", "_present", "_stop", "_waiters")

    def __init__(self, backend: Backend, present: Callable[[], State]) -> None:
        """``present`` returns the bus's own state, which is ``closed`` also while other buses use its connection."""
        changes: deque[State] = deque()
        waiters = Waiters()

        def changed(state: State) -> None:
            changes.append(state)
            waiters.wake_all()

        self._bridge: Final = backend.bridge
        self._present: Final = present
        self._changes: Final = changes
        self._waiters: Final = waiters
        self._ended = False
        # Also for an iterator that is never started.
        self._stop: Final = weakref.finalize(self, backend.observe(changed))
        self._stop.atexit = False

    def __reduce__(self) -> Never:
        raise TypeError("cannot copy or pickle state_changes(): call it again for another")

    async def __anext__(self) -> State:
        loop = self._bridge.check()
        while not self._ended:
            # It may have been closed before.
            if self._changes or self._present() == "closed":
                state = self._changes.popleft() if self._changes else "closed"
                if state == "closed":
                    await self.aclose()
                return state
            await self._waiters.wait(self._waiters.join(loop))
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Ends the iteration, also for tasks that wait."""
        self._ended = True
        self._stop()
        self._waiters.wake_all()
