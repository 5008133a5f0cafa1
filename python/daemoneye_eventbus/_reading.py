"""Who reads a connection, and who waits for the kernel to take more.

Where the loop watches descriptors it does both itself: no thread stands between the kernel and a reader. Elsewhere the
link's own thread does, and wakes the loop once for what has come together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from daemoneye_eventbus._border import Link
    from daemoneye_eventbus._loop import Bridge

__all__ = ["LinkReads", "LoopReads", "Reading", "reading"]


class Reading(Protocol):
    """What a connection tells whoever reads it."""

    def update(self) -> None:
        """What is there to be read may have changed."""

    def kernel_is_full(self) -> None:
        """The kernel has refused bytes; go on writing when it takes some again."""


def reading(bridge: Bridge, link: Link) -> Reading:
    """The way of this loop."""
    return LoopReads(bridge, link) if bridge.watches else LinkReads(link)


class LinkReads:
    """The link's own thread reads and writes."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def update(self) -> None:
        """Nothing to do: the thread knows."""

    def kernel_is_full(self) -> None:
        """Leaves it to the thread."""
        self._link.write_elsewhere()


class LoopReads:
    """The loop watches the descriptor."""

    def __init__(self, bridge: Bridge, link: Link) -> None:
        self._bridge = bridge
        self._link = link
        self._watched: tuple[int, int] | None = None
        self._writing: int | None = None
        self._is_settled = True

    def update(self) -> None:
        """Watches the present connection and lets go of an earlier one."""
        generation = self._link.generation()
        if self._is_settled and self._watched is not None and self._watched[0] == generation:
            return
        # What a signal's handler raises from here on has the next call do all of it again.
        self._is_settled = False
        loop = self._bridge.loop
        if self._watched is not None:
            loop.remove_reader(self._watched[1])
            self._stop_writing()
            self._watched = None
        # Only now may the old descriptor's number be used again.
        self._watched = self._link.watch()
        if self._watched is not None:
            loop.add_reader(self._watched[1], self._on_readable)
        self._is_settled = True

    def _on_readable(self) -> None:
        try:
            if self._link.on_readable(self._bridge.bell):
                self.update()
            # Last, for whoever is woken goes on in there.
            self._bridge.look()
        except BaseException:
            # A Ctrl-C may come between any two steps; the link holds the bell until the loop has looked.
            self._bridge.loop.call_soon(self._bridge.look)
            raise

    def kernel_is_full(self) -> None:
        """Watches for writing."""
        self.update()
        if self._watched is None:
            # Paused or lost; whichever it is, the supervisor sees to the bytes.
            self._link.write_elsewhere()
            return
        # Noted first, and asked for again where it was noted: an interrupt may have come in between.
        self._writing = self._watched[1]
        self._bridge.loop.add_writer(self._writing, self._on_writable)

    def _on_writable(self) -> None:
        if not self._link.on_writable():
            self._stop_writing()

    def _stop_writing(self) -> None:
        if self._writing is not None:
            self._bridge.loop.remove_writer(self._writing)
            self._writing = None
