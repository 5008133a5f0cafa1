"""Publishes that wait for room: one queue for each bus, first in, first out.

No waiting task tries by itself. When there is room, the publishes of a queue are tried in order until one finds too
little. So a large event is not overtaken by smaller ones behind it, and all the room that there is is used in one turn
of the loop, however many tasks wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemoneye_eventbus._bindings import Waiter

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from daemoneye_eventbus._bindings import PartialPublish
    from daemoneye_eventbus._fields import CorrelationMetadata

__all__ = ["RoomCallbacks", "WaitingPublish"]


class RoomCallbacks:
    """What is called when there is room on a connection: each bus that has waiting publishes tries them again."""

    __slots__ = ("_callbacks",)

    def __init__(self) -> None:
        self._callbacks: dict[Callable[[], None], None] = {}

    def add(self, retry: Callable[[], None]) -> None:
        """Has ``retry`` called from now on; once each time, however often it is added."""
        self._callbacks[retry] = None

    def discard(self, retry: Callable[[], None]) -> None:
        """Has it called no more."""
        self._callbacks.pop(retry, None)

    def call(self) -> None:
        """There may be room, or the connection has ended."""
        for retry in tuple(self._callbacks):
            retry()


class WaitingPublish:
    """One publish in its queue, and what became of it."""

    __slots__ = ("error", "is_over", "message", "partial", "taken", "waiter")

    def __init__(
        self,
        message: tuple[object, str | CorrelationMetadata | None, str | None, bool],
        partial: PartialPublish | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """``message`` as `BusCore._try_publish` takes it; ``partial`` is what an attempt has begun, if any."""
        self.message = message
        self.partial = partial
        self.waiter = Waiter(loop)
        self.taken = False
        self.error: BaseException | None = None
        self.is_over = False

    def end(self, error: BaseException | None = None) -> None:
        """Taken, or refused with ``error``."""
        self.taken, self.error = error is None, error
        self.is_over = True

    def result(self) -> None:
        """Raises what it was refused with."""
        if self.error is not None:
            raise self.error

    def accepted(self) -> int:
        """How many events it has published, of one. An event that some readers have counts as published."""
        if self.taken:
            return 1
        return 0 if self.partial is None else int(self.partial.give_up())
