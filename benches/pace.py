"""Sending on time: asyncio rounds timeouts up to a millisecond, so a timer of the kernel wakes both kinds of bus."""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from typing import Self

_MONOTONIC = 1
_NONBLOCK = os.O_NONBLOCK


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Interval(ctypes.Structure):
    _fields_ = (("every", _Timespec), ("first", _Timespec))


class Pace:
    """Ticks at `rate` per second, the first at `begin` on the performance counter, which is CLOCK_MONOTONIC here."""

    def __init__(self, rate: float, begin: float) -> None:
        self._rate, self._begin = rate, begin

    async def __aenter__(self) -> Self:
        libc = ctypes.CDLL(None, use_errno=True)
        self._timer = libc.timerfd_create(_MONOTONIC, _NONBLOCK)
        every = round(1e9 / self._rate)
        first = max(1, round((self._begin - time.perf_counter()) * 1e9))
        interval = _Interval(
            _Timespec(every // 10**9, every % 10**9),
            _Timespec(first // 10**9, first % 10**9),
        )
        if self._timer < 0 or libc.timerfd_settime(self._timer, 0, ctypes.byref(interval), None):
            raise OSError(ctypes.get_errno(), "no timer descriptor")
        self._future: asyncio.Future[None] | None = None
        self._watched = False
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watched:
            asyncio.get_running_loop().remove_reader(self._timer)
        os.close(self._timer)

    def _tick(self) -> None:
        os.read(self._timer, 8)
        if self._future and not self._future.done():
            self._future.set_result(None)

    async def due(self, *, blocking: bool) -> int:
        """Waits for the next tick unless one has passed; how many messages are due since `begin`."""
        if blocking:
            os.set_blocking(self._timer, True)
            os.read(self._timer, 8)
        else:
            loop = asyncio.get_running_loop()
            if not self._watched:
                loop.add_reader(self._timer, self._tick)
                self._watched = True
            self._future = loop.create_future()
            await self._future
        return int((time.perf_counter() - self._begin) * self._rate) + 1
