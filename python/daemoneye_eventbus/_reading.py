"""Who reads a connection, and who waits for the kernel to take more.

A loop that watches descriptors does both itself: no thread stands between the kernel and a reader. Otherwise the link's
own thread does, and wakes the loop once for all that has come meanwhile.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, Protocol

from daemoneye_eventbus.errors import ForkedProcess

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from daemoneye_eventbus._bindings import Link
    from daemoneye_eventbus._loop import Bridge

__all__ = ["LinkReads", "LoopReads", "Reading", "reading"]

# How often a loop that raised is asked again; a signal handler does not raise so often in a row.
_ATTEMPTS: Final = 4


class Reading(Protocol):
    """What a connection tells its reader."""

    def update(self) -> None:
        """What is there to be read may have changed."""

    def kernel_is_full(self) -> None:
        """The kernel has refused bytes; go on writing when it takes some again."""


def reading(bridge: Bridge, link: Link) -> Reading:
    """The one that suits this loop."""
    return LoopReads(bridge, link) if bridge.watches_descriptors else LinkReads(link)


class LinkReads:
    """The link's own thread reads and writes."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def update(self) -> None:
        """Nothing to do: the thread knows."""

    def kernel_is_full(self) -> None:
        """Has the thread write."""
        self._link.write_elsewhere()


class LoopReads:
    """The loop watches the descriptor.

    A signal handler may raise between any two steps of this, of the loop and of the loop's selector. What was begun and
    not finished is not taken for done: the next `update`, at the latest in the loop's next turn, undoes all of it and
    does it again.
    """

    def __init__(self, bridge: Bridge, link: Link) -> None:
        self._bridge = bridge
        self._link = link
        self._watched: tuple[int, int] | None = None
        self._is_writing = False
        self._is_settled = True

    def update(self) -> None:
        """Watches the present connection and lets go of an earlier one."""
        generation = self._link.generation()
        if self._is_settled and self._watched is not None and self._watched[0] == generation:
            return
        self._settle(self._watch_anew, not self._is_settled)

    def kernel_is_full(self) -> None:
        """Watches for writing."""
        self.update()
        if self._watched is None:
            # Paused or lost; in both cases the link's own thread writes.
            self._link.write_elsewhere()
            return
        self._is_writing = True
        self._settle(self._bridge.loop.add_writer, self._watched[1], self._on_writable)

    def _settle(self, do: Callable[..., object], *arguments: object) -> None:
        self._is_settled = False
        try:
            self._do(do, *arguments)
        except BaseException:
            if not self._is_settled:
                self._bridge.loop.call_soon(self.update)
            raise

    def _do(self, do: Callable[..., object], *arguments: object) -> None:
        try:
            do(*arguments)
            self._is_settled = True
        except Exception as error:
            if self._is_refused():
                errno = error.errno if isinstance(error, OSError) else None
                self._link.cannot_watch(str(error), errno)
                # The kernel watches no more (ENOSPC, ENOMEM): every call says so, and the loop need not.
                if errno is not None:
                    return
            raise

    def _is_refused(self) -> bool:
        """Whether the loop raises each time it is asked. Otherwise it watches now, and a signal handler had raised."""
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(Exception):
                self._watch_anew(is_torn=True)
                self._is_settled = True
                return False
        return True

    def _watch_anew(self, is_torn: bool) -> None:
        loop = self._bridge.loop
        if self._watched is not None:
            number = self._watched[1]
            loop.remove_reader(number)
            loop.remove_writer(number)
            if is_torn:
                _forget(loop, number)
            self._watched = None
        # Only now may the old descriptor's number be used again.
        self._watched = self._link.watch()
        if self._watched is not None:
            loop.add_reader(self._watched[1], self._on_readable)
            if self._is_writing:
                loop.add_writer(self._watched[1], self._on_writable)
        elif self._is_writing:
            self._is_writing = False
            self._link.write_elsewhere()

    def _on_readable(self) -> None:
        try:
            if self._link.on_readable(self._bridge.waker):
                self.update()
            # Last, since tasks that are woken run within it.
            self._bridge.dispatch()
        except ForkedProcess as error:
            self._bridge.warn_of_fork(error)
        except BaseException:
            # A Ctrl-C may come between any two steps, and wake-ups are suppressed until the loop has dispatched.
            self._bridge.loop.call_soon(self._bridge.dispatch)
            raise

    def _on_writable(self) -> None:
        try:
            is_full = self._link.on_writable()
        except ForkedProcess as error:
            self._bridge.warn_of_fork(error)
            return
        if not is_full and self._watched is not None:
            self._is_writing = False
            self._settle(self._bridge.loop.remove_writer, self._watched[1])


def _forget(loop: asyncio.AbstractEventLoop, number: int) -> None:
    """Has the kernel stop watching a descriptor that the loop does not know of.

    asyncio's selector keeps a list beside the kernel's. An exception between the two leaves a descriptor in the
    kernel's alone: the loop turns without rest for it, cannot be asked to watch it again (``FileExistsError``), and has
    no way to be rid of it.
    """
    unregister = getattr(getattr(getattr(loop, "_selector", None), "_selector", None), "unregister", None)
    if unregister is not None:
        with contextlib.suppress(OSError, KeyError):
            unregister(number)
