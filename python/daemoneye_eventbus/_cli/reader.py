"""Lines of a descriptor, read on a thread of their own so that the loop goes on, with a bound on what waits.

The thread reads the descriptor itself: if it still waited for input when the interpreter ends, holding a buffered
stream's lock, the process would be aborted. It is a daemon, since nothing can wake it from that wait.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["LONGEST_LINE", "LineTooLong", "lines_of"]

LONGEST_LINE: Final = 128 * 1024 * 1024
_CHUNK: Final = 256 * 1024
_AHEAD: Final = 4


class LineTooLong(Exception):
    """A line that can hold no message: `LONGEST_LINE` is above what the largest frame needs in base64."""


class _Reader:
    def __init__(self, descriptor: int, loop: asyncio.AbstractEventLoop) -> None:
        self.batches: asyncio.Queue[list[bytes] | Exception | None] = asyncio.Queue()
        self.room = threading.Semaphore(_AHEAD)
        self._descriptor = descriptor
        self._loop = loop

    def run(self) -> None:
        try:
            self._read()
        except Exception as error:  # noqa: BLE001  # who waits for lines learns of the end nowhere else
            self._give(error)
        else:
            self._give(None)

    def _give(self, batch: list[bytes] | Exception | None) -> None:
        self.room.acquire()
        try:
            self._loop.call_soon_threadsafe(self.batches.put_nowait, batch)
        except RuntimeError:
            # The loop is closed: nobody listens any more.
            return

    def _read(self) -> None:
        begun: list[bytes] = []
        size = 0
        while chunk := os.read(self._descriptor, _CHUNK):
            first, *rest = chunk.split(b"\n")
            begun.append(first)
            size += len(first)
            if rest:
                self._give([b"".join(begun), *rest[:-1]])
                begun, size = [rest[-1]], len(rest[-1])
            if size > LONGEST_LINE:
                raise LineTooLong
        if size:
            self._give([b"".join(begun)])


async def lines_of(descriptor: int) -> AsyncIterator[list[bytes]]:
    """The lines, many at once and without their ends. Raises `LineTooLong`, and what reading raised."""
    reader = _Reader(descriptor, asyncio.get_running_loop())
    threading.Thread(target=reader.run, name="lines", daemon=True).start()
    while True:
        batch = await reader.batches.get()
        reader.room.release()
        if batch is None:
            return
        if isinstance(batch, Exception):
            raise batch
        yield batch
