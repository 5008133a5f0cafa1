"""The backend of a bus over a connection."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from daemoneye_eventbus._backend import OpenedQueue
from daemoneye_eventbus._closing import Closing
from daemoneye_eventbus._connection import Connection
from daemoneye_eventbus._deadline import QuietTimeout
from daemoneye_eventbus._listing import Listing
from daemoneye_eventbus._types import BrokerStatistics, ClientInfo, EventBusStatistics
from daemoneye_eventbus.errors import ConnectionLost, ProtocolError, SubscriptionRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemoneye_eventbus._bindings import Address, Link, Source
    from daemoneye_eventbus._config import ClientConfig
    from daemoneye_eventbus._loop import Bridge
    from daemoneye_eventbus._queue_options import QueueOptions
    from daemoneye_eventbus._types import EventSubscription, State

__all__ = ["RemoteBackend"]

_log = logging.getLogger("daemoneye_eventbus.client")

_CLOSE_SECONDS: Final = 2.0


class RemoteBackend:
    """Over a connection, which other buses may share."""

    def __init__(self, bridge: Bridge, address: Address, config: ClientConfig) -> None:
        self._user = object()
        self._connection = connection = Connection.shared(bridge, address, config, self._user)
        self.bridge = bridge
        self.config = config
        self.room = connection.room
        self.room_token = connection.room_token
        self._closing = Closing()
        # Of subscriptions with a connection of their own: those that have said goodbye and are not closed yet, by name.
        self._leaving: dict[Connection, str] = {}
        self._observers: set[Callable[[State], None]] = set()

    async def wait_connected(self) -> None:
        """Waits until it is connected; raises why it is not in the ``connect_timeout`` that begins now."""
        await self._connection.wait_connected()

    @property
    def native(self) -> Link:
        return self._connection.link

    @property
    def state(self) -> State:
        return "closed" if self._closing.begun else self._connection.state

    def observe(self, observer: Callable[[State], None]) -> Callable[[], None]:
        """Tells ``observer`` of each change; the result ends that."""
        both = (self._observers, self._connection.observers)
        for observers in both:
            observers.add(observer)

        def stop() -> None:
            for observers in both:
                observers.discard(observer)

        return stop

    def open(self, spec: EventSubscription, options: QueueOptions, token: int) -> OpenedQueue:
        """A subscription on this connection, or on one of its own if it stops reading when it is full."""
        block = options.overflow == "block"
        if block and self.config.peer == "original":
            raise SubscriptionRefused(
                reason='overflow="block" needs a native broker: one of the original would wait for nobody and cut us; '
                'use "drop_oldest" or "drop_newest"'
            )
        # Made by the bus's connection, which knows how deep the broker's topics may be; a new one does not yet.
        source = self.native.inbox(spec, options, self.bridge.waker, token)
        if not block:
            return self._open_on(self._connection, spec, source, own=False)
        own = Connection(self.bridge, self._connection.address, replace(self.config, pool=False))
        return self._open_on(own, spec, source, own=True)

    def _open_on(self, connection: Connection, spec: EventSubscription, source: Source, *, own: bool) -> OpenedQueue:
        link, bridge, leaving = connection.link, self.bridge, self._leaving
        number = 0

        async def confirm() -> None:
            if own:
                await connection.wait_connected()

            def ask(waker: Any, answer: int) -> Any:
                nonlocal number
                number, reply = link.subscribe(source, waker, answer)
                return reply

            await bridge.ask(ask)

        async def arrived() -> None:
            # The answer to a PING comes behind all that the broker had for the same connection.
            if own:
                await bridge.ask(link.ping)

        def end(at_once: bool) -> Callable[[], Any] | None:
            gone = link.state != "connected"
            link.unsubscribe(number, source, True, bridge.waker, 0)
            if at_once or gone:
                if own:
                    (connection.abandon if at_once else connection.close)()
                    leaving.pop(connection, None)
                return None
            if not own:
                return functools.partial(self._confirm_end, spec.subscriber_id)
            leaving[connection] = spec.subscriber_id
            link.leave()
            return functools.partial(self._leave_own, connection, spec.subscriber_id)

        return OpenedQueue(source, confirm, arrived, end, connection.cause)

    async def _confirm_end(self, subscriber_id: str) -> None:
        if self._closing.begun:
            # After its goodbye a broker answers nothing more.
            await self.close(_CLOSE_SECONDS)
            return
        limit = QuietTimeout(asyncio.timeout(_CLOSE_SECONDS))
        # Broken or closed meanwhile: the subscription ended with it.
        with contextlib.suppress(ConnectionError):
            async with limit:
                # The answer to UNSUB may have come when nobody waited any more. That to a PING comes behind it.
                await self.last_flush()
        if limit.expired:
            _unconfirmed(subscriber_id)

    async def _leave_own(self, connection: Connection, subscriber_id: str, timeout: float = _CLOSE_SECONDS) -> None:
        if not await connection.leave(timeout):
            _unconfirmed(subscriber_id)
        self._leaving.pop(connection, None)

    def flush_soon(self) -> None:
        """One write for everything published in this turn of the loop."""
        self._connection.flush_soon()

    def kernel_is_full(self) -> None:
        """The kernel has refused bytes; goes on writing when it takes some again."""
        self._connection.kernel_is_full()

    async def flush(self) -> None:
        """Everything published before has been routed."""
        await self.bridge.ask(self.native.ping)

    async def last_flush(self) -> None:
        """As `flush`, for what is about to close: raises `ConnectionLost` as soon as the connection breaks."""
        broken = self.bridge.check().create_future()

        def changed(state: State) -> None:
            # The change to ``connected`` may still be on its way here.
            if state in {"reconnecting", "closed"} and not broken.done():
                broken.set_result(None)

        stop = self.observe(changed)
        flushing = asyncio.ensure_future(self.flush())
        try:
            if self.state == "connected":
                await asyncio.wait((flushing, broken), return_when=asyncio.FIRST_COMPLETED)
            if not flushing.done():
                raise ConnectionLost("the connection broke, and a closing bus does not wait for another one")
            flushing.result()
        finally:
            stop()
            flushing.cancel()
            # What it raised leads here, and would be kept by it.
            del flushing

    async def statistics(self) -> EventBusStatistics:
        """The broker's numbers."""
        answer: EventBusStatistics = _expect(EventBusStatistics, await self.bridge.ask(self.native.statistics))
        return answer

    async def broker_statistics(self) -> BrokerStatistics:
        """All totals of the broker."""
        return BrokerStatistics(**_expect(dict, await self.bridge.ask(self.native.broker_statistics)))

    async def clients(self) -> list[ClientInfo]:
        """All clients, page by page."""
        link = self.native
        found: list[ClientInfo] = []
        listing = Listing()
        while True:
            page, more = _expect(tuple, await self.bridge.ask(functools.partial(link.clients, listing.after)))
            try:
                found.extend(ClientInfo(**one) for one in page)
            except ValueError as error:
                raise ProtocolError(f"the broker has not answered what it was asked: {error}") from None
            try:
                if not listing.advance(page, more):
                    return found
            except ValueError as error:
                raise ProtocolError(f"the broker {error}; please report it") from None

    def local_statistics(self) -> dict[str, Any]:
        """This side's numbers."""
        return self.native.statistics_of_connection()

    async def close(self, goodbye: float) -> None:
        """Leaves the connection; its last user waits ``goodbye`` seconds at most for the rest, and closes it."""
        await self._closing.run(functools.partial(self._leave_all, goodbye))

    async def _leave_all(self, goodbye: float) -> None:
        loop = self.bridge.check()
        ends = loop.time() + goodbye
        try:
            await self._leave(goodbye)
            for connection, subscriber_id in self._leaving.copy().items():
                await self._leave_own(connection, subscriber_id, ends - loop.time())
        finally:
            self._close_leaving(Connection.close)

    def _close_leaving(self, close: Callable[[Connection], None]) -> None:
        for connection in self._leaving.copy():
            close(connection)
            self._leaving.pop(connection, None)

    async def _leave(self, goodbye: float) -> None:
        if not self._connection.release(self._user):
            # The connection stays open for others, and so reports no change.
            for observer in list(self._observers):
                observer("closed")
            return
        try:
            if self._connection.state == "connected" and goodbye > 0 and not await self._connection.leave(goodbye):
                _log.warning("the broker did not confirm the end of a bus and its subscriptions within %g s", goodbye)
        finally:
            self._connection.close()
        self._warn_unsent()

    def abandon(self) -> None:
        """As `close`, from any thread, without waiting and without telling observers."""
        self._closing.run_at_once(self._abandon)

    def _abandon(self) -> None:
        self._close_leaving(Connection.abandon)
        if self._connection.release(self._user):
            self._connection.abandon()

    def _warn_unsent(self) -> None:
        unsent = self.native.unsent
        if unsent:
            _log.warning("%d published messages were not sent before the bus was closed", unsent)
        self._connection.unsent_is_told()


def _unconfirmed(subscriber_id: str) -> None:
    _log.warning("the broker did not confirm the end of subscription %r", subscriber_id)


def _expect(kind: type, answer: Any) -> Any:
    """The answer; raises if the broker did not know the request, or answered another."""
    if isinstance(answer, kind):
        return answer
    if isinstance(answer, EventBusStatistics):
        raise ProtocolError(
            "this broker tells other processes its five totals only; update it, or ask in its own process"
        )
    raise ProtocolError("the broker has not answered what it was asked; please report it")
