"""Lines for a stream that perhaps nobody reads, written whole and in order by a thread of their own.

So whoever gives one can wait until it is written, and can stop waiting, and the line stays whole. What is given without
waiting and not taken at once waits, up to `_ROOM` bytes; lines beyond that, and those whose writing failed, are lost,
and in their place it is told how many. At the end all is written as long as the stream takes something, for `_LONGEST`
seconds at most; what waits then is lost uncounted.

The thread writes below the buffers of `sys.stdout` and `sys.stderr`: the interpreter flushes those at its end, and one
with text in it that cannot be written would change the exit code, or one that is being written abort the process.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from typing import Any, Final, Literal

from daemoneye_eventbus._cli.numbers import counted
from daemoneye_eventbus._signals import with_signals_blocked

__all__ = ["BackgroundWriter"]

_PATIENCE: Final = 0.5
"""Seconds without progress after which a stream counts as one that nobody reads."""
_ROOM: Final = 1024 * 1024
_LONGEST: Final = 2.0
_END: Final = os.linesep.encode()


class BackgroundWriter:
    """One standard stream. Lines are given, and their end is waited for, in one thread."""

    def __init__(self, name: Literal["stdout", "stderr"], *, waits: bool = False) -> None:
        self.error: OSError | None = None
        """Why lines could not be written, the first of these."""
        self._name = name
        self._waits = waits
        self._mark: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._queue: queue.SimpleQueue[tuple[int, bytes] | queue.SimpleQueue[None]] = queue.SimpleQueue()
        self._begun = False
        self._lost = 0
        # Each is changed by one thread only, so that neither needs a lock.
        self._given = self._taken = 0
        self._torn = False

    def give(self, text: str, *, wait: bool = False) -> None:
        """Has whole lines written. With ``wait`` they are on return, unless `wait_no_longer` and nobody reads now."""
        data = text.replace("\n", os.linesep).encode(getattr(sys, self._name).encoding, "backslashreplace")
        before = self._given - self._taken
        waits = wait and self._waits
        if not waits and before and before + len(data) > _ROOM:
            self._lost += 1
            return
        self._put(data)
        if waits or (wait and not before):
            self._wait()

    def wait_no_longer(self) -> None:
        """From now on, and what waits already does not either. A signal handler may call it."""
        self._waits = False
        self._mark.put(None)

    def settle(self) -> None:
        """Waits until everything is written, as long as that goes on."""
        if not self._begun:
            return
        # So that what was lost is told even if nothing came behind it.
        self._put(b"")
        self._waits = False
        ends = time.monotonic() + _LONGEST
        seen = self._taken
        while not self._wait() and self._taken != seen and time.monotonic() < ends:
            seen = self._taken

    def _put(self, data: bytes) -> None:
        lost, self._lost = self._lost, 0
        self._given += len(data)
        self._queue.put((lost, data))
        if not self._begun:
            self._begun = True
            with_signals_blocked(threading.Thread(target=self._run, name=self._name, daemon=True).start)

    def _wait(self) -> bool:
        """Whether all is written that was given before."""
        # Not an event, which a signal handler must not set.
        mark: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._mark = mark
        self._queue.put(mark)
        try:
            mark.get(timeout=None if self._waits else _PATIENCE)
        except queue.Empty:
            return False
        return True

    def _run(self) -> None:
        lost = 0
        while True:
            item = self._queue.get()
            if isinstance(item, queue.SimpleQueue):
                item.put(None)
                continue
            missing, data = item
            lost += missing
            if lost and self._write(self._told(lost)):
                lost = 0
            if data and (lost or not self._write(data)):
                lost += 1
            self._taken += len(data)

    def _told(self, lost: int) -> bytes:
        return f"daemoneye-eventbus: {counted(lost, 'line')} lost here, which {self._name} did not take".encode() + _END

    def _write(self, data: bytes) -> bool:
        """Whether all of it was written."""
        buffer = getattr(sys, self._name).buffer
        raw: Any = getattr(buffer, "raw", buffer)
        left = memoryview(_END + data if self._torn else data)
        whole = len(left)
        try:
            while left:
                left = left[raw.write(left) :]
        except OSError as error:
            self.error = self.error or error
            self._torn = self._torn or len(left) < whole
            return False
        self._torn = False
        return True
