"""The publishing half of a bus: the fast path is native (`BusCore`), this is where it waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

from daemoneye_eventbus._border import BusCore, Pending
from daemoneye_eventbus._checks import text, wrong
from daemoneye_eventbus._fields import CorrelationMetadata
from daemoneye_eventbus._loop import Bridge
from daemoneye_eventbus._types import CollectionEvent
from daemoneye_eventbus._ways import RemoteWay, Way
from daemoneye_eventbus.errors import ConnectionClosed, PublishTimeout

__all__ = ["Publisher"]


class Publisher(BusCore):
    """What a bus does when there is no room at once: stand in line, offer again, give up in time."""

    _way: Way
    _bridge: Bridge
    _standing: int
    _shut: bool

    def _check(self) -> None:
        if self._shut:
            raise ConnectionClosed("this bus was shut down; make a new one")

    def _flush_soon(self) -> None:
        self._way.flush_soon()

    def _kernel_is_full(self) -> None:
        if isinstance(self._way, RemoteWay):
            self._way.connection.kernel_is_full()

    async def _publish_slow(
        self,
        message: object,
        correlation: str | CorrelationMetadata | None,
        topic: str | None,
        control: bool,
        rest: Pending | None,
    ) -> None:
        loop = self._bridge.check()
        self._check()
        room = self._way.room
        timeout = self._way.config.publish_timeout
        deadline = loop.time() + timeout
        self._standing += 1
        self._waiters(self._standing)
        try:
            while True:
                until = deadline if rest is None else min(deadline, loop.time() + rest.stalls_in)
                try:
                    await room.wait(loop, until)
                except TimeoutError:
                    if loop.time() >= deadline:
                        raise PublishTimeout(
                            f"publish: no room for {timeout:g} s (publish_timeout): the broker, or a reader that "
                            'congestion="block" waits for, takes nothing; try again later, or give more time',
                            timeout=timeout,
                        ) from None
                self._check()
                left = self._offer(message, correlation, topic, control) if rest is None else self._resume(rest)
                if left is None:
                    return
                rest = left or None
        except BaseException as error:
            # What some readers have was published, whatever the others miss.
            _tell(error, 0 if rest is None else int(rest.give_up()))
            raise
        finally:
            self._standing -= 1
            self._waiters(self._standing)
            # Whoever stands behind us was not heard by whoever makes room.
            room.wake_one()

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
            _tell(error, accepted + vars(error).get("accepted", 0))
            raise


def _tell(error: Any, accepted: int) -> None:
    # Not in the frame that it is raised from: another name for it there would be a cycle. Past what its class makes of
    # setting an attribute: one that is frozen would put its refusal in the place of the error.
    with contextlib.suppress(AttributeError):
        BaseException.__setattr__(error, "accepted", accepted)
