"""Lines of a descriptor, read on a thread of their own so that the loop goes on, with a bound on what waits.

The thread reads the descriptor itself: if it still waited for input when the interpreter ends, holding a buffered
stream's lock, the process would be aborted. It is a daemon, since on Windows nothing can wake it from that wait.
"""

from __future__ import annotations

import asyncio
import os
import select
import sys
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["LONGEST_LINE", "LineTooLong", "Lines"]

LONGEST_LINE: Final = 128 * 1024 * 1024
_CHUNK: Final = 256 * 1024
_AHEAD: Final = 4


class LineTooLong(Exception):
    """A line that can hold no message: `LONGEST_LINE` is above what the largest frame needs in base64."""


class Lines:
    """Many at once and without their ends, in a running loop. Raises `LineTooLong`, and what reading raised."""

    def __init__(self, descriptor: int) -> None:
        self.read = 0
        """How many have been read, given or not."""
        self._batches: asyncio.Queue[list[bytes] | Exception | None] = asyncio.Queue()
        self._room = threading.Semaphore(_AHEAD)
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._woken, self._wake = os.pipe()
        threading.Thread(target=self._run, name="lines", daemon=True).start()

    def stop(self) -> None:
        """Reads no further: the whole lines that have been read are the last ones."""
        os.write(self._wake, b".")

    async def batches(self) -> AsyncIterator[list[bytes]]:
        """To the end, or until it is stopped."""
        while True:
            batch = await self._batches.get()
            self._room.release()
            if batch is None:
                return
            if isinstance(batch, Exception):
                raise batch
            yield batch

    def _run(self) -> None:
        try:
            self._read()
        except Exception as error:  # noqa: BLE001  # who waits for lines learns of the end nowhere else
            self._give(error)
        else:
            self._give(None)

    def _give(self, batch: list[bytes] | Exception | None) -> None:
        self._room.acquire()
        try:
            self._loop.call_soon_threadsafe(self._batches.put_nowait, batch)
        except RuntimeError:
            # The loop is closed: nobody listens any more.
            return

    def _give_lines(self, lines: list[bytes]) -> None:
        self.read += len(lines)
        self._give(lines)

    def _read(self) -> None:
        begun: list[bytes] = []
        size = 0
        while not self._is_stopped():
            chunk = os.read(self._descriptor, _CHUNK)
            if not chunk:
                if size:
                    self._give_lines([b"".join(begun)])
                return
            first, *rest = chunk.split(b"\n")
            begun.append(first)
            size += len(first)
            if rest:
                self._give_lines([b"".join(begun), *rest[:-1]])
                begun, size = [rest[-1]], len(rest[-1])
            if size > LONGEST_LINE:
                raise LineTooLong

    def _is_stopped(self) -> bool:
        """Waits for input or for being stopped; pipes of Windows cannot be waited for, and there nobody stops it."""
        if sys.platform == "win32":
            return False
        either = select.poll()
        either.register(self._descriptor, select.POLLIN)
        either.register(self._woken, select.POLLIN)
        return any(descriptor == self._woken for descriptor, _ in either.poll())
