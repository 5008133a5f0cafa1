"""A subscription: an asynchronous iterator over one bounded queue.

Messages stay in the native queue until they are read; waiting readers are served in the order in which they began to
wait, but a read that finds a message takes it, also while others wait. Cancelling a read loses neither a message nor a
wake-up, and all reads end when the subscription is closed, or its connection is lost for good.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import warnings
import weakref
from collections.abc import Callable, Coroutine
from operator import index
from typing import Any, Final, Never, Self, TypeVar

from daemoneye_eventbus._backend import OpenedQueue
from daemoneye_eventbus._bindings import SubscriptionCore, Waiter
from daemoneye_eventbus._checks import got, wrong_type
from daemoneye_eventbus._closing import Closing
from daemoneye_eventbus._deadline import Deadline
from daemoneye_eventbus._lifecycle import is_forked, is_left_in_fork
from daemoneye_eventbus._loop import Bridge
from daemoneye_eventbus._waiters import Waiters, may_run_tasks
from daemoneye_eventbus.errors import ConnectionClosed, SubscriptionClosed, WouldBlock

__all__ = ["QueueListener", "Subscription"]

_MOST_AT_ONCE: Final = 2**32
_SHOWN: Final = 3
"""Patterns in a repr, which may have thousands."""

T_co = TypeVar("T_co", covariant=True)


class QueueListener:
    """What a queue notifies. An object of its own, since a queue needs it before its subscription exists."""

    def __init__(self) -> None:
        self.waiting = Waiters()
        self.subscription: weakref.ref[Subscription[Any]] | None = None

    def notify(self) -> None:
        """The queue has something, or ended; called by the loop."""
        subscription = None if self.subscription is None else self.subscription()
        if subscription is not None and subscription._ended:
            self.waiting.wake_all()
        else:
            self.waiting.wake_one(direct=may_run_tasks(asyncio.get_running_loop()))


class Subscription(SubscriptionCore[T_co]):
    """The messages that match a subscription, in the order of each publisher.

    Iterate over it (``async for``), or take messages with `get`, `get_nowait` and `get_many`. Cancelling a wait loses
    nothing. Created by `EventBus.subscribe`; close it with `close` or ``async with``.
    """

    _listener: QueueListener
    _waiters: Waiters
    _bridge: Bridge
    _opened: OpenedQueue
    _on_close: Callable[[Subscription[Any]], None]
    _closing: Closing
    _pid: int

    def __new__(cls, *_args: Never, **_named: Never) -> Self:
        raise TypeError("Subscription: make one with EventBus.subscribe(...)")

    @classmethod
    def _make(
        cls,
        opened: OpenedQueue,
        subscriber_id: str,
        bridge: Bridge,
        listener: QueueListener,
        on_close: Callable[[Subscription[Any]], None],
    ) -> Self:
        self = super().__new__(cls, opened.source, subscriber_id, bridge.waker)
        listener.subscription = weakref.ref(self)
        self._listener = listener
        self._opened = opened
        self._bridge = bridge
        self._waiters = listener.waiting
        self._on_close = on_close
        self._pid = os.getpid()
        self._closing = Closing()
        return self

    def _end_error(self) -> BaseException:
        failure = None if self._closing.begun else self._refusal() or self._opened.failure()
        return failure or SubscriptionClosed(subscriber_id=self.subscriber_id)

    async def _wait(self, place: int | None, deadline: Deadline | None = None) -> int:
        """Waits; returns the place in which it has waited, for the next time."""
        waiter = self._add_waiter(place)
        ends = None if deadline is None else deadline.at
        if not await self._waiters.wait(waiter, ends) and deadline is not None:
            raise deadline.missed("no message came", "call it again to wait on") from None
        return waiter.place

    def _add_waiter(self, place: int | None) -> Waiter:
        return self._waiters.join(self._bridge.check(), place)

    def _remove_waiter(self, waiter: Waiter) -> None:
        self._waiters.leave(waiter)

    async def _get_slow(self, timeout: float | None) -> Any:
        loop = self._bridge.check()
        deadline = None if timeout is None else Deadline("get", timeout, loop)
        place = None
        try:
            while (message := self._take()) is None:
                place = await self._wait(place, deadline)
            if message is Ellipsis:
                raise self._end_error()
            return message
        finally:
            # A reader that was woken wakes the next one, also if it failed.
            self._wake_next(self._waiters.queue)

    async def _next_slow(self) -> Any:
        place = None
        try:
            while (message := self._take()) is None:
                place = await self._wait(place)
            if message is Ellipsis:
                error = self._end_error()
                if isinstance(error, SubscriptionClosed | ConnectionClosed):
                    raise StopAsyncIteration
                raise error
            return message
        finally:
            self._wake_next(self._waiters.queue)

    def get_nowait(self) -> T_co:
        """A message that is queued already; `WouldBlock` if there is none.

        It takes one also while others wait. `SubscriptionClosed` or `ConnectionLost` at the end.
        """
        message = self._take()
        if message is None:
            raise WouldBlock("no message is waiting; use get() to wait for one")
        if message is Ellipsis:
            raise self._end_error()
        result: T_co = message
        return result

    def get_many(self, max: int, timeout: float | None = None) -> Coroutine[None, None, list[T_co]]:
        """A list of 1 to ``max`` messages: those that are queued, or else the first that arrives.

        ``TimeoutError`` after ``timeout`` seconds, `SubscriptionClosed` or `ConnectionLost` at the end.
        """
        return self._get_many(max, timeout)

    async def _get_many(self, most: int, timeout: float | None) -> list[T_co]:
        if isinstance(most, bool):
            raise wrong_type("max", "int", most)
        try:
            most = min(index(most), _MOST_AT_ONCE)
        except TypeError:
            raise wrong_type("max", "int", most) from None
        if most < 1:
            raise ValueError(f"max: must be at least 1{got(most)}")
        loop = self._bridge.check()
        deadline = None if timeout is None else Deadline("get_many", timeout, loop)
        if self._must_yield(deadline is None):
            try:
                await asyncio.sleep(0)
            finally:
                self._resume()
        messages: list[T_co] = []
        place = None
        try:
            while self._take_many(most, messages) and not messages:
                place = await self._wait(place, deadline)
            if not messages:
                raise self._end_error()
            return messages
        finally:
            self._wake_next(self._waiters.queue)

    async def close(self) -> None:
        """Ends the subscription. What is still queued, here and at the broker, is dropped and counted.

        It waits for the broker, 2 s at most. Idempotent: waits for one that is under way, and finishes one that was
        interrupted.
        """
        # In a forked child it is the parent's, also if it was closed before.
        self._bridge.waker.check()
        if self._closing.done:
            return
        self._bridge.check()
        try:
            await self._closing.run(self._close_and_wait)
        finally:
            self._waiters.wake_all()

    async def _close_and_wait(self) -> None:
        confirm = self._close(at_once=False)
        if confirm is not None:
            await confirm()

    def _close(self, *, at_once: bool) -> Callable[[], Any] | None:
        self._end()
        confirm = self._opened.end(at_once)
        # Last: whoever is interrupted before finds it on its bus again.
        self._on_close(self)
        return confirm

    async def _drain_target(self) -> int:
        """How many messages its reader will have taken once it has all that is queued now, here and at the broker.

        The bus has been flushed. Later messages do not count, since others may go on publishing without end.
        """
        # From a connection that has ended nothing more comes.
        with contextlib.suppress(ConnectionError):
            await self._opened.arrived()
        return self._delivered + self.pending

    async def _wait_delivered(self, count: int) -> None:
        """Returns when its reader has taken ``count`` messages, or has none to take."""
        # The native fast path takes messages without telling anybody.
        while self._delivered < count and self.pending and not self._closing.begun:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    def _begin_close(self, *, waits: bool) -> None:
        """As `close`, but the wait, if there is one, is left to its bus."""
        if waits:
            self._closing.begin(functools.partial(self._close, at_once=False))
        else:
            self._abandon()

    def _abandon(self) -> None:
        """Closes it without a warning, at once and from any thread."""
        self._closing.run_at_once(functools.partial(self._close, at_once=True))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, typ: object, value: BaseException | None, traceback: object) -> None:
        if not is_left_in_fork(value, self._pid):
            await self.close()

    def __repr__(self) -> str:
        shown = ", ".join(self.patterns[:_SHOWN])
        more = len(self.patterns) - _SHOWN
        return f"<Subscription {self.subscriber_id!r} {shown}{f' and {more} more' if more > 0 else ''}>"

    def __del__(self) -> None:
        closing: Closing | None = getattr(self, "_closing", None)
        if closing is None or closing.done or is_forked(self._pid):
            return
        # Not of one whose close was interrupted: it was not forgotten.
        said = None if closing.begun else f"{self!r} was forgotten; close it or use async with"
        if not self._bridge.is_closed:
            self._abandon()
        # Last: it may raise.
        if said is not None:
            warnings.warn(said, ResourceWarning, stacklevel=2)
