"""The backend of a bus in the broker's own process."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, Final

from daemoneye_eventbus._backend import OpenedQueue
from daemoneye_eventbus._backpressure import RoomCallbacks
from daemoneye_eventbus._closing import Closing
from daemoneye_eventbus._types import EventBusStatistics
from daemoneye_eventbus.errors import ConnectionLost, ForkedProcess, SubscriptionClosed

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemoneye_eventbus._bindings import LocalLink
    from daemoneye_eventbus._broker import Broker
    from daemoneye_eventbus._config import ClientConfig
    from daemoneye_eventbus._loop import Bridge
    from daemoneye_eventbus._queue_options import QueueOptions
    from daemoneye_eventbus._types import BrokerStatistics, ClientInfo, EventSubscription, State

__all__ = ["LocalBackend"]

_TURN_SECONDS: Final = 0.001


class LocalBackend:
    """In the broker's own process: no socket, no codec."""

    def __init__(self, bridge: Bridge, broker: Broker, link: LocalLink, config: ClientConfig) -> None:
        self.bridge = bridge
        self.config = config
        self.room = RoomCallbacks()
        self.room_token = bridge.listen(self._on_room)
        self._broker = broker
        self._link = link
        self._closing = Closing()
        self._observers: set[Callable[[State], None]] = set()
        self._stop_observing = broker.observe_end(functools.partial(bridge.call, self._broker_ended))
        self._turned = bridge.loop.time()

    def _on_room(self) -> None:
        self.room.call()

    async def _yield_turn(self) -> None:
        """Nothing here has to wait; a task that calls it in a tight loop still lets others run."""
        loop = self.bridge.check()
        if loop.time() - self._turned >= _TURN_SECONDS:
            await asyncio.sleep(0)
            self._turned = loop.time()

    def _broker_ended(self) -> None:
        for observer in list(self._observers):
            observer("closed")
        self.room.call()

    @property
    def native(self) -> LocalLink:
        return self._link

    @property
    def state(self) -> State:
        return "connected" if self._broker.running and not self._closing.begun else "closed"

    def observe(self, observer: Callable[[State], None]) -> Callable[[], None]:
        """Tells ``observer`` of each change; the result ends that."""
        self._observers.add(observer)
        return lambda: self._observers.discard(observer)

    def open(self, spec: EventSubscription, options: QueueOptions, token: int) -> OpenedQueue:
        """A queue at the broker itself."""
        source = self._link.subscribe(spec, options, self.config.broker_overflow, self.bridge.waker, token)

        def end(_at_once: bool) -> None:
            return None

        failure = functools.partial(self._failure, spec.subscriber_id)
        return OpenedQueue(source, self._yield_turn, self._yield_turn, end, failure)

    def _failure(self, subscriber_id: str) -> BaseException | None:
        """Why a subscription ended that its owner has not closed."""
        if self._closing.begun:
            return None
        if not self._broker.running:
            return SubscriptionClosed(
                f"the subscription {subscriber_id!r} ended with its broker; subscribe on a bus of the next one",
                subscriber_id=subscriber_id,
            )
        return ConnectionLost(
            'this queue was full, and its bus had asked to be cut then (broker_overflow="disconnect")'
        )

    def flush_soon(self) -> None:
        """One write to each reader elsewhere for everything published in this turn of the loop."""
        if self.bridge.is_running:
            self.bridge.call_next_turn(self._link.with_fallback(self._end_turn))
        else:
            self._link.flush()

    def _end_turn(self) -> None:
        try:
            if self._link.end_turn():
                self.bridge.loop.call_soon(self._link.with_fallback(self._end_turn))
        except ForkedProcess as error:
            self.bridge.warn_of_fork(error)
        except BaseException:
            # A Ctrl-C: another turn may not be scheduled.
            self._link.flush()
            raise

    def kernel_is_full(self) -> None:
        """Nothing to do: the broker itself writes to readers in other processes."""

    async def flush(self) -> None:
        """Publishing in process routes at once; what is held back for readers elsewhere is written."""
        self._link.flush()
        await self._yield_turn()

    async def last_flush(self) -> None:
        """The same."""
        await self.flush()

    async def statistics(self) -> EventBusStatistics:
        """The broker's numbers."""
        await self._yield_turn()
        now = self._broker.statistics()
        return EventBusStatistics(
            messages_published=now.messages_published,
            messages_delivered=now.messages_delivered,
            active_subscribers=now.active_subscribers,
            active_topics=now.active_topics,
            uptime_seconds=now.uptime_seconds,
        )

    async def broker_statistics(self) -> BrokerStatistics:
        """All totals of the broker."""
        await self._yield_turn()
        return self._broker.statistics()

    async def clients(self) -> list[ClientInfo]:
        """All clients, in the same order as for other processes."""
        await self._yield_turn()
        return sorted(self._broker.clients(), key=lambda client: client.id)

    def local_statistics(self) -> dict[str, Any]:
        """Nothing lies between this bus and its broker that could refuse, lose or reconnect."""
        return dict.fromkeys(("refused", "unconfirmed", "unsent", "reconnects", "decode_errors"), 0)

    async def close(self, goodbye: float) -> None:
        """Ends this bus at its broker."""
        del goodbye
        self._closing.run_at_once(self._close)

    def _close(self) -> None:
        self._abandon()
        self._broker_ended()

    def abandon(self) -> None:
        """As `close`, from any thread and without telling observers."""
        self._closing.run_at_once(self._abandon)

    def _abandon(self) -> None:
        self._stop_observing()
        self._stop_observing = _noop
        self._link.close()


def _noop() -> None:
    """Replaces a callback that refers to its owner: the cycle would keep both until the garbage collector runs."""
