"""The publishing half of a bus: the fast path is native (`BusCore`), this is where it waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from daemoneye_eventbus._border import BusCore, Pending
from daemoneye_eventbus._checks import text, wrong
from daemoneye_eventbus._fields import CorrelationMetadata
from daemoneye_eventbus._loop import Bridge
from daemoneye_eventbus._room import Place
from daemoneye_eventbus._types import CollectionEvent
from daemoneye_eventbus._ways import Way
from daemoneye_eventbus.errors import ConnectionClosed, PublishTimeout

__all__ = ["Publisher"]

_SERVED_A_TURN: Final = 256


class Publisher(BusCore):
    """What a bus does when there is no room at once: stand in line, offer again, give up in time."""

    _way: Way
    _bridge: Bridge
    _line: deque[Place]
    _stall: asyncio.TimerHandle | None
    _shut: bool

    def _check(self) -> None:
        if self._shut:
            raise ConnectionClosed("this bus was shut down; make a new one")

    def _has_loop(self) -> bool:
        return not self._bridge.is_closed

    def _flush_soon(self) -> None:
        self._way.flush_soon()

    def _look_soon(self) -> None:
        self._bridge.look_soon()

    def _kernel_is_full(self) -> None:
        self._way.kernel_is_full()

    async def _publish_slow(
        self,
        message: object,
        correlation: str | CorrelationMetadata | None,
        topic: str | None,
        control: bool,
        rest: Pending | None,
    ) -> None:
        try:
            loop = self._bridge.check()
            self._check()
        except BaseException as error:
            if rest is not None:
                _tell(error, int(rest.give_up()))
            raise
        timeout = self._way.config.publish_timeout
        place = Place((message, correlation, topic, control), rest, loop)
        self._line.append(place)
        if len(self._line) == 1:
            self._stand()
        else:
            self._waiters(len(self._line))
        limit = loop.call_at(loop.time() + timeout, place.waiter.time_out)
        try:
            await place.waiter
            place.result()
        except BaseException as error:
            # One that a signal's handler raises is none of ours.
            if not isinstance(error, TimeoutError) or not place.waiter.timed_out():
                _tell(error, self._step_out(place))
                raise
            if place.taken:
                return
            accepted = self._step_out(place)
        else:
            return
        finally:
            limit.cancel()
            # Or the error leads back to itself.
            place.error = None
        raise _late(timeout, accepted)

    def _stand(self) -> None:
        """Another stands first, or nobody."""
        self._waiters(len(self._line))
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        if not self._line:
            self._way.room.discard(self._serve)
            return
        self._way.room.add(self._serve)
        rest = self._line[0].rest
        if rest is not None:
            self._stall = self._bridge.loop.call_later(rest.stalls_in, self._serve)

    def _serve(self) -> None:
        """Offers what stands in line, in order, until something finds too little room."""
        line = self._line
        for _ in range(_SERVED_A_TURN):
            if not line:
                break
            place = line[0]
            if not place.is_over:
                try:
                    self._check()
                    left = self._offer(*place.message) if place.rest is None else self._resume(place.rest)
                    if left is not None:
                        place.rest = left or None
                        break
                    place.end()
                except BaseException as error:  # noqa: BLE001  # it is raised where the publish is awaited
                    place.end(error)
            place.waiter.wake()
            if line and line[0] is place:
                line.popleft()
        else:
            # The loop has other work, too.
            self._bridge.call(self._serve)
        self._stand()

    def _step_out(self, place: Place) -> int:
        """Gives up a place; how many events it has published."""
        was_first = bool(self._line) and self._line[0] is place
        place.is_over = True
        with contextlib.suppress(ValueError):
            self._line.remove(place)
        if was_first:
            # What is behind it may need less.
            self._bridge.call(self._serve)
        return place.accepted()

    async def _publish_many(
        self, events: Iterable[CollectionEvent], correlation: str | CorrelationMetadata | None, topic: str | None
    ) -> int:
        self._bridge.check()
        self._check()
        if not (isinstance(events, Iterable) or hasattr(events, "__getitem__")):
            raise wrong("publish_many.events", "an iterable of events", events)
        # Also where there is no event that could be refused for it.
        if not isinstance(correlation, str | CorrelationMetadata | None):
            raise wrong("publish_many.correlation", "str, CorrelationMetadata or None", correlation)
        if topic is not None:
            text("publish_many.topic", topic)
        source = iter(events)
        accepted = 0
        try:
            while True:
                taken, then = self._offer_many(source, correlation, topic)
                accepted += taken
                if then is None:
                    return accepted
                if then is True:
                    await asyncio.sleep(0)
                else:
                    event, rest = then
                    await self._publish_slow(event, correlation, topic, False, rest or None)
                    accepted += 1
        except BaseException as error:
            # Whoever goes on from there repeats none: what the iterator raises and a cancellation say it as well.
            _tell(error, accepted + (vars(error).get("accepted") or 0))
            raise


def _late(timeout: float, accepted: int) -> PublishTimeout:
    error = PublishTimeout(
        f"publish: no room for {timeout:g} s (publish_timeout): the broker, or a reader that "
        'congestion="block" waits for, takes nothing; try again later, or give more time',
        timeout=timeout,
    )
    _tell(error, accepted)
    return error


def _tell(error: Any, accepted: int) -> None:
    # Not in the frame that it is raised from: another name for it there would be a cycle. Past what its class makes of
    # setting an attribute: one that is frozen would put its refusal in the place of the error.
    with contextlib.suppress(AttributeError):
        BaseException.__setattr__(error, "accepted", accepted)
