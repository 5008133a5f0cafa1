"""Publishers that wait for room: a line for each bus, served from its front.

Nobody offers for himself. Whoever hears of room has the lines served: what stands in one is offered in order, until
something finds too little. So a large event is not overtaken by smaller ones behind it, and all the room that there is
is used in one turn of the loop, however many tasks wait for it.
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
    """Whose lines are to be served when there is room on a connection."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: dict[Callable[[], None], None] = {}

    def add(self, serve: Callable[[], None]) -> None:
        """Somebody stands in that line."""
        self._lines[serve] = None

    def discard(self, serve: Callable[[], None]) -> None:
        """Nobody does any more."""
        self._lines.pop(serve, None)

    def call(self) -> None:
        """There may be room, or never any more."""
        for serve in tuple(self._lines):
            serve()


class WaitingPublish:
    """One publish in its line, and what became of it."""

    __slots__ = ("error", "is_over", "message", "partial", "taken", "waiter")

    def __init__(
        self,
        message: tuple[object, str | CorrelationMetadata | None, str | None, bool],
        partial: PartialPublish | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """``message`` as `BusCore._offer` takes it; ``partial`` is what it left to be handed over, if anything."""
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
        """How many events were published by it, of one. What some readers have was, whatever the others miss."""
        if self.taken:
            return 1
        return 0 if self.partial is None else int(self.partial.give_up())
