"""The publishing half of a bus: the fast path is native (`BusCore`), this is where it waits."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Final

from daemoneye_eventbus._backend import Backend
from daemoneye_eventbus._backpressure import PublishCall, WaitingPublish
from daemoneye_eventbus._bindings import BusCore, PublishProgress, Waiter
from daemoneye_eventbus._checks import text, wrong_type
from daemoneye_eventbus._closing import Closing
from daemoneye_eventbus._fields import CorrelationMetadata
from daemoneye_eventbus._loop import Bridge
from daemoneye_eventbus._types import CollectionEvent
from daemoneye_eventbus.errors import ConnectionClosed, PublishTimeout

__all__ = ["Publisher"]

_SERVED_A_TURN: Final = 256


class Publisher(BusCore):
    """What a bus does when there is no room at once: it queues the publish, tries again, and gives up in time."""

    _backend: Backend
    _bridge: Bridge
    _waiting_publishes: deque[WaitingPublish]
    _retry_timer: asyncio.TimerHandle | None
    _closing: Closing

    def _check(self) -> None:
        # First: in a forked child it is the parent's, also if it was shut down before.
        self._bridge.waker.check()
        if self._closing.begun:
            raise ConnectionClosed("this bus was shut down; make a new one")

    def _has_loop(self) -> bool:
        return not self._bridge.is_closed

    def _flush_soon(self) -> None:
        self._backend.flush_soon()

    def _dispatch_soon(self) -> None:
        self._bridge.dispatch_soon()

    def _warn_unsent(self) -> None:
        # For an exit handler that runs behind the package's own, which has warned of what there was until then.
        unsent = self._backend.local_statistics()["unsent"]
        warnings.warn(
            f"{unsent} published messages are unsent while the interpreter ends; they are lost, unless publish_nowait "
            "is called again when the broker takes more",
            ResourceWarning,
            stacklevel=2,
        )

    def _kernel_is_full(self) -> None:
        self._backend.kernel_is_full()

    async def _publish_slow(
        self,
        message: object,
        correlation: str | CorrelationMetadata | None,
        topic: str | None,
        call: PublishCall,
        progress: PublishProgress,
    ) -> None:
        timeout = self._backend.config.publish_timeout
        try:
            loop = self._bridge.check()
            self._check()
            entry = WaitingPublish((message, correlation, topic, call), progress, loop)
            if await self._wait_for_room(entry, timeout, loop):
                return
        except BaseException as error:
            _set_accepted(error, progress.give_up())
            raise
        raise _timeout_error(call, timeout, progress.give_up())

    async def _wait_for_room(self, entry: WaitingPublish, timeout: float, loop: asyncio.AbstractEventLoop) -> bool:
        """Queues a publish until it is taken; false if it is not in time. Raises what it was refused with."""
        limit = None
        # From the first step on: a signal handler may raise behind each, and nobody must wait behind what nobody tries.
        try:
            self._waiting_publishes.append(entry)
            if len(self._waiting_publishes) == 1:
                self._update_front()
            else:
                self._set_waiter_count(len(self._waiting_publishes))
            limit = loop.call_at(loop.time() + timeout, entry.waiter.time_out)
            await entry.waiter
            entry.result()
        except TimeoutError:
            # A signal handler may raise one of its own.
            if not entry.waiter.timed_out():
                raise
            # What ended it in the same turn is the reason.
            entry.result()
            return entry.is_taken
        else:
            return True
        finally:
            self._leave_queue(entry)
            if limit is not None:
                limit.cancel()
            # The error's traceback holds this frame: together they would be a cycle.
            entry.error = None

    def _update_front(self) -> None:
        """To be called when the first in the queue has changed, or the queue is empty."""
        self._set_waiter_count(len(self._waiting_publishes))
        if self._retry_timer is not None:
            self._retry_timer.cancel()
            self._retry_timer = None
        if not self._waiting_publishes:
            self._backend.room.discard(self._retry_waiting)
            return
        self._backend.room.add(self._retry_waiting)
        retry_in = self._waiting_publishes[0].progress.retry_in
        if retry_in is not None:
            self._retry_timer = self._bridge.loop.call_later(retry_in, self._retry_waiting)

    def _retry_waiting(self) -> None:
        try:
            self._try_waiting()
        except BaseException:
            # A signal handler raised: those behind wait for nothing else.
            self._bridge.call(self._retry_waiting)
            raise

    def _try_waiting(self) -> None:
        """Tries the waiting publishes in order, until one finds too little room."""
        queue = self._waiting_publishes
        was_served = False
        for _ in range(_SERVED_A_TURN):
            if not queue:
                break
            entry = queue[0]
            if not entry.is_over:
                try:
                    self._check()
                    if not self._try_publish(*entry.message, entry.progress):
                        break
                    was_served = True
                    entry.end()
                except BaseException as error:  # noqa: BLE001  # it is raised where the publish is awaited
                    entry.end(error)
            entry.waiter.wake()
            if queue and queue[0] is entry:
                queue.popleft()
        else:
            # The loop has other work, too.
            self._bridge.call(self._retry_waiting)
        if was_served:
            # It is added again, behind the other buses of the connection, if more of its publishes wait.
            self._backend.room.discard(self._retry_waiting)
        self._update_front()

    def _leave_queue(self, entry: WaitingPublish) -> None:
        """Takes a publish out of the queue if it is still there: it was given up, or a signal handler raised."""
        queue = self._waiting_publishes
        is_first = bool(queue) and queue[0] is entry
        if is_first or not entry.is_over:
            entry.is_over = True
            with contextlib.suppress(ValueError):
                queue.remove(entry)
        self._set_waiter_count(len(queue))
        if is_first:
            # The next one may need less room.
            self._bridge.call(self._retry_waiting)

    async def _yield_to_earlier(self) -> None:
        """Lets publishes that other tasks began before, and that gave the loop a turn, go on first."""
        places = self._standing_publishes()
        last = places[1] if places else 0
        while places and places[0] <= last:
            await asyncio.sleep(0)
            places = self._standing_publishes()

    async def _publish_many(
        self, events: Iterable[CollectionEvent], correlation: str | CorrelationMetadata | None, topic: str | None
    ) -> int:
        progress = PublishProgress()
        stood_back: Waiter | bool | None = None
        try:
            self._bridge.check()
            self._check()
            source = _checked_many(events, correlation, topic)
            while True:
                then = self._try_publish_many(source, correlation, topic, stood_back, progress)
                if then is None:
                    return progress.accepted
                stood_back = None if isinstance(then, tuple) else then
                if isinstance(then, tuple):
                    await self._publish_slow(*then, correlation, topic, "publish_many", progress)
                elif isinstance(then, Waiter):
                    await then
                else:
                    await asyncio.sleep(0)
        except BaseException as error:
            if stood_back is not None:
                self._leave_line(stood_back)
            # On errors of the iterator and on cancellation too, so that a caller who continues publishes none twice.
            _set_accepted(error, progress.give_up())
            raise


def _checked_many(
    events: Iterable[CollectionEvent], correlation: object, topic: str | None
) -> Iterator[CollectionEvent]:
    if not (isinstance(events, Iterable) or hasattr(events, "__getitem__")):
        raise wrong_type("publish_many.events", "an iterable of events", events)
    # Checked here too, since there may be no event that would be refused for it.
    if not isinstance(correlation, str | CorrelationMetadata | None):
        raise wrong_type("publish_many.correlation", "str, CorrelationMetadata or None", correlation)
    if topic is not None:
        text("publish_many.topic", topic)
    return iter(events)


def _timeout_error(call: PublishCall, timeout: float, accepted: int) -> PublishTimeout:
    error = PublishTimeout(
        f"{call}: no room for {timeout:g} s (publish_timeout): the broker, or a reader that "
        'congestion="block" waits for, takes less than is published, or nothing, or this event loop was blocked; '
        "publish less, try again later, or give more time",
        timeout=timeout,
    )
    _set_accepted(error, accepted)
    return error


def _set_accepted(error: Any, accepted: int) -> None:
    # A function of its own: a local name for the error in the frame that raises it would be a cycle. Set through
    # `BaseException`: a class that refuses attributes, such as a frozen dataclass, would raise in place of the error.
    with contextlib.suppress(AttributeError):
        BaseException.__setattr__(error, "accepted", accepted)
