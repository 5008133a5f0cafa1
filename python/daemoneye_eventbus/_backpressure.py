"""Publishes that wait for room: one queue for each bus, first in, first out.

No waiting task tries by itself. When there is room, the publishes of a queue are tried in order until one finds too
little. So a large event is not overtaken by smaller ones behind it, and all the room that there is is used in one turn
of the loop, however many tasks wait for it.

The buses of one connection are tried in turn: a bus that got something stands behind the others from then on, and one
that got nothing keeps its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from daemoneye_eventbus._bindings import Waiter

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from daemoneye_eventbus._bindings import PublishProgress
    from daemoneye_eventbus._fields import CorrelationMetadata

__all__ = ["PublishCall", "RoomCallbacks", "WaitingPublish"]

# Two literals, as of `State` in `_types`.
PublishCall: TypeAlias = Literal["publish"] | Literal["publish_control", "publish_many"]  # noqa: PYI030


class RoomCallbacks:
    """What is called when there is room on a connection: each bus that has waiting publishes tries them again."""

    __slots__ = ("_callbacks",)

    def __init__(self) -> None:
        self._callbacks: dict[Callable[[], None], None] = {}

    def add(self, retry: Callable[[], None]) -> None:
        """Has ``retry`` called from now on, behind the others; once each time, however often it is added."""
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

    __slots__ = ("_accepted_before", "error", "is_over", "message", "progress", "waiter")

    def __init__(
        self,
        message: tuple[object, str | CorrelationMetadata | None, str | None, PublishCall],
        progress: PublishProgress,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """``message`` and ``progress`` as `BusCore._try_publish` takes them."""
        self.message = message
        self.progress = progress
        self.waiter = Waiter(loop)
        self.error: BaseException | None = None
        self.is_over = False
        self._accepted_before = progress.accepted

    @property
    def is_taken(self) -> bool:
        """Whether it is published."""
        return self.progress.accepted > self._accepted_before

    def end(self, error: BaseException | None = None) -> None:
        """Taken, or refused with ``error``."""
        self.error = error
        self.is_over = True

    def result(self) -> None:
        """Raises what it was refused with."""
        if self.error is not None:
            raise self.error
