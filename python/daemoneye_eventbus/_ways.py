"""The two ways from a bus to its broker: over a connection, or past it in the broker's own process. One interface."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from daemoneye_eventbus._checks import choice, integer
from daemoneye_eventbus._connection import Connection
from daemoneye_eventbus._deadline import Limit
from daemoneye_eventbus._listing import Listing
from daemoneye_eventbus._room import Room
from daemoneye_eventbus._types import BrokerStatistics, ClientInfo, EventBusStatistics, EventSubscription, State
from daemoneye_eventbus.errors import ConnectionLost, ProtocolError, SubscriptionRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemoneye_eventbus._border import Link, PortHandle, Source
    from daemoneye_eventbus._broker import Broker
    from daemoneye_eventbus._config import ClientConfig
    from daemoneye_eventbus._loop import Bridge

__all__ = ["Bounds", "LocalWay", "Opened", "RemoteWay", "Way"]

_log = logging.getLogger("daemoneye_eventbus.client")

_CLOSE_SECONDS = 2.0
_TURN_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Bounds:
    """A subscription's queue: messages, bytes, and what it does when it is full."""

    queue_messages: int
    queue_bytes: int
    overflow: Literal["drop_oldest", "drop_newest", "block"]

    def check(self) -> None:
        """Names what is out of range."""
        integer("queue_messages", self.queue_messages, 1, 2**63 - 1)
        integer("queue_bytes", self.queue_bytes, 1, 2**63 - 1)
        choice("overflow", self.overflow, "drop_oldest", "drop_newest", "block")


@dataclass(frozen=True, slots=True)
class Opened:
    """A subscription's queue, and how to end it."""

    source: Source
    confirm: Callable[[], Any]
    """Coroutine function: waits for the broker's answer."""
    arrived: Callable[[], Any]
    """Coroutine function: of what the broker had for it at the last flush of its bus, all is in the queue or was."""
    end: Callable[[bool], Any]
    """Coroutine function: ends it; with ``True`` from any thread, without waiting for anybody."""
    failure: Callable[[], BaseException | None]
    """Why it ended, if not by its owner."""


class Way(Protocol):
    """What a bus needs of the way to its broker."""

    bridge: Bridge
    config: ClientConfig
    room: Room
    room_token: int

    @property
    def native(self) -> Link | PortHandle: ...
    @property
    def state(self) -> State: ...
    def observe(self, observer: Callable[[State], None]) -> Callable[[], None]: ...
    def open(self, spec: EventSubscription, bounds: Bounds, token: int) -> Opened: ...
    def flush_soon(self) -> None: ...
    async def flush(self) -> None: ...
    async def last_flush(self) -> None: ...
    async def statistics(self) -> EventBusStatistics: ...
    async def broker_statistics(self) -> BrokerStatistics: ...
    async def clients(self) -> list[ClientInfo]: ...
    def local_statistics(self) -> dict[str, Any]: ...
    async def close(self, goodbye: float) -> None: ...
    def abandon(self) -> None: ...


class RemoteWay:
    """Over a connection, which other buses may share."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.bridge = connection.bridge
        self.config = connection.config
        self.room = connection.room
        self.room_token = connection.room_token
        self._open = True
        self._observers: set[Callable[[State], None]] = set()

    @property
    def connection(self) -> Connection:
        """The connection underneath."""
        return self._connection

    @property
    def native(self) -> Link:
        return self._connection.link

    @property
    def state(self) -> State:
        return self._connection.state if self._open else "closed"

    def observe(self, observer: Callable[[State], None]) -> Callable[[], None]:
        """Tells ``observer`` of each change; the result ends that."""
        both = (self._observers, self._connection.observers)
        for observers in both:
            observers.add(observer)

        def stop() -> None:
            for observers in both:
                observers.discard(observer)

        return stop

    def open(self, spec: EventSubscription, bounds: Bounds, token: int) -> Opened:
        """A subscription on this connection, or on one of its own if it may stop the reading."""
        block = bounds.overflow == "block"
        if block and self.config.peer == "original":
            raise SubscriptionRefused(
                reason='overflow="block" needs a native broker: one of the original would wait for nobody and cut us; '
                'use "drop_oldest" or "drop_newest"'
            )
        # By the bus's connection, which has been told how deep topics may be; another has yet to hear it.
        source = self.native.inbox(spec, bounds, self.bridge.bell, token)
        if not block:
            return self._open_on(self._connection, spec, source, own=False)
        own = Connection(self.bridge, self._connection.address, replace(self.config, pool=False))
        return self._open_on(own, spec, source, own=True)

    def _open_on(self, connection: Connection, spec: EventSubscription, source: Source, *, own: bool) -> Opened:
        link, bridge = connection.link, self.bridge
        number = 0

        async def confirm() -> None:
            if own:
                await connection.opened()

            def ask(bell: Any, answer: int) -> Any:
                nonlocal number
                number, ticket = link.subscribe(source, bell, answer)
                return ticket

            await bridge.ask(ask)

        async def arrived() -> None:
            # The answer to a flush comes behind what the broker had for the same connection.
            if own:
                await bridge.ask(link.ping)

        async def end(at_once: bool) -> None:
            if own:
                link.unsubscribe(number, True, bridge.bell, 0)
                link.close_counted()
                if at_once:
                    connection.abandon()
                else:
                    connection.close()
                return
            if at_once or link.state != "connected":
                link.unsubscribe(number, True, bridge.bell, 0)
                return
            limit = Limit(asyncio.timeout(_CLOSE_SECONDS))
            # Broken or closed meanwhile: the subscription ended with it.
            with contextlib.suppress(ConnectionError):
                async with limit:
                    await bridge.ask(lambda bell, answer: link.unsubscribe(number, True, bell, answer))
            if limit.is_over:
                _log.warning("the broker did not confirm the end of subscription %r", spec.subscriber_id)

        return Opened(source, confirm, arrived, end, connection.cause)

    def flush_soon(self) -> None:
        """One write for everything published in this turn of the loop."""
        self._connection.flush_soon()

    async def flush(self) -> None:
        """Everything published before has been routed."""
        await self.bridge.ask(self.native.ping)

    async def last_flush(self) -> None:
        """As `flush`, for somebody who is about to leave: `ConnectionLost` as soon as the connection breaks."""
        broken = self.bridge.check().create_future()

        def changed(state: State) -> None:
            # That it was made may still be on its way here.
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

    async def statistics(self) -> EventBusStatistics:
        """The broker's numbers."""
        answer: EventBusStatistics = _told(EventBusStatistics, await self.bridge.ask(self.native.statistics))
        return answer

    async def broker_statistics(self) -> BrokerStatistics:
        """All totals of the broker."""
        return BrokerStatistics(**_told(dict, await self.bridge.ask(self.native.broker_statistics)))

    async def clients(self) -> list[ClientInfo]:
        """Everybody, page by page."""
        link = self.native
        found: list[ClientInfo] = []
        listing = Listing()
        while True:
            page, more = _told(tuple, await self.bridge.ask(functools.partial(link.clients, listing.after)))
            try:
                found.extend(ClientInfo(**one) for one in page)
            except ValueError as error:
                raise ProtocolError(f"the broker has not answered what it was asked: {error}") from None
            try:
                if not listing.goes_on(page, more):
                    return found
            except ValueError as error:
                raise ProtocolError(f"the broker {error}; please report it") from None

    def local_statistics(self) -> dict[str, Any]:
        """This side's numbers."""
        return self.native.statistics_of_connection()

    async def close(self, goodbye: float) -> None:
        """Leaves the pool; the last one says goodbye for at most so many seconds and closes."""
        if not self._open:
            return
        self._open = False
        if not self._connection.release():
            # The connection goes on for others and says nothing of this.
            for observer in list(self._observers):
                observer("closed")
            return
        if self._connection.state == "connected" and goodbye > 0:
            await self._connection.left(goodbye)
        else:
            self._connection.close()
        self._account()

    def abandon(self) -> None:
        """Leaves without a word, from any thread; the last one closes."""
        if not self._open:
            return
        self._open = False
        if self._connection.release():
            self._connection.abandon()

    def _account(self) -> None:
        unsent = self.native.unsent
        if unsent:
            _log.warning("%d published messages were not sent before the bus was closed", unsent)


class LocalWay:
    """In the broker's own process: no socket, no codec."""

    def __init__(self, bridge: Bridge, broker: Broker, port: PortHandle, config: ClientConfig) -> None:
        self.bridge = bridge
        self.config = config
        self.room = Room()
        self.room_token = bridge.listen(self._on_room)
        self._broker = broker
        self._port = port
        self._open = True
        self._observers: set[Callable[[State], None]] = set()
        self._stop_observing = broker.observe_end(functools.partial(bridge.call, self._broker_ended))
        self._turned = bridge.loop.time()

    def _on_room(self) -> None:
        self.room.call()

    async def _turn(self) -> None:
        """Nothing that is asked here takes time; who asks without end leaves the loop to others all the same."""
        loop = self.bridge.check()
        if loop.time() - self._turned >= _TURN_SECONDS:
            await asyncio.sleep(0)
            self._turned = loop.time()

    def _broker_ended(self) -> None:
        for observer in list(self._observers):
            observer("closed")
        self.room.call()

    @property
    def native(self) -> PortHandle:
        return self._port

    @property
    def state(self) -> State:
        return "connected" if self._open and self._broker.running else "closed"

    def observe(self, observer: Callable[[State], None]) -> Callable[[], None]:
        """Tells ``observer`` of each change; the result ends that."""
        self._observers.add(observer)
        return lambda: self._observers.discard(observer)

    def open(self, spec: EventSubscription, bounds: Bounds, token: int) -> Opened:
        """A queue at the broker itself."""
        source = self._port.subscribe(spec, bounds, self.config.broker_overflow, self.bridge.bell, token)

        async def end(_at_once: bool) -> None:
            return None

        return Opened(source, self._turn, self._turn, end, self._cut)

    def _cut(self) -> BaseException | None:
        """Why a subscription ended that neither its owner nor the broker has closed."""
        if self.state == "closed":
            return None
        return ConnectionLost(
            'this queue was full, and its bus had asked to be cut then (broker_overflow="disconnect")'
        )

    def flush_soon(self) -> None:
        """One write to each reader elsewhere for everything published in this turn of the loop."""
        if self.bridge.is_running:
            self.bridge.call_next_turn(self._port.promise(self._port.flush))
        else:
            self._port.flush()

    async def flush(self) -> None:
        """Publishing in process routes at once; what has company to wait for is written."""
        self._port.flush()
        await self._turn()

    async def last_flush(self) -> None:
        """The same."""
        await self.flush()

    async def statistics(self) -> EventBusStatistics:
        """The broker's numbers."""
        await self._turn()
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
        await self._turn()
        return self._broker.statistics()

    async def clients(self) -> list[ClientInfo]:
        """Everybody, in the order that other processes are told them."""
        await self._turn()
        return sorted(self._broker.clients(), key=lambda client: client.id)

    def local_statistics(self) -> dict[str, Any]:
        """Nothing lies between this bus and its broker that could refuse, lose or reconnect."""
        return dict.fromkeys(("refused", "unconfirmed", "unsent", "reconnects", "decode_errors"), 0)

    async def close(self, goodbye: float) -> None:
        """Ends this bus at its broker."""
        del goodbye
        if not self._open:
            return
        self._open = False
        self._stop_observing()
        self._stop_observing = _nothing
        self._port.close()
        self._broker_ended()

    def abandon(self) -> None:
        """Leaves without a word, from any thread."""
        if self._open:
            self._open = False
            self._stop_observing()
            self._stop_observing = _nothing
            self._port.close()


def _nothing() -> None:
    """In the place of what is let go: a function that knows its owner keeps him from being freed at once."""


def _told(kind: type, answer: Any) -> Any:
    """The answer, unless the broker did not know the question, or answered another."""
    if isinstance(answer, kind):
        return answer
    if isinstance(answer, EventBusStatistics):
        raise ProtocolError(
            "this broker tells other processes its five totals only; update it, or ask in its own process"
        )
    raise ProtocolError("the broker has not answered what it was asked; please report it")
