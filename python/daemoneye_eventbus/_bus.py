"""The bus: publish and subscribe, in the broker's process or in any other, by the same object.

What depends on where the broker is, a backend does (`_backend`). Publishing is native, and continues in Python where it
has to wait (`_publishing`). An awaitable call does nothing before it is awaited, and each wait ends by a timeout or by
`shutdown`.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import warnings
import weakref
from collections import deque
from collections.abc import Coroutine, Iterable
from typing import Any, Final, Literal, Never, Self, TypeVar, overload

from daemoneye_eventbus._backend import Backend
from daemoneye_eventbus._bindings import Address
from daemoneye_eventbus._broker import Broker
from daemoneye_eventbus._checks import file_path, instance_or_default, short, text, wrong_type
from daemoneye_eventbus._closing import Closing
from daemoneye_eventbus._config import ClientConfig
from daemoneye_eventbus._deadline import Deadline, QuietTimeout
from daemoneye_eventbus._fields import (
    BusEvent,
    ControlMessage,
    CorrelationMetadata,
    FilesystemEvent,
    NetworkEvent,
    PerformanceEvent,
    ProcessEvent,
    TriggerRequest,
)
from daemoneye_eventbus._lifecycle import is_forked, is_left_in_fork
from daemoneye_eventbus._local_backend import LocalBackend
from daemoneye_eventbus._loop import Bridge
from daemoneye_eventbus._opening import Opening
from daemoneye_eventbus._publishing import Publisher
from daemoneye_eventbus._queue_options import QueueOptions
from daemoneye_eventbus._remote_backend import RemoteBackend
from daemoneye_eventbus._specification import specification
from daemoneye_eventbus._state_changes import StateChanges, StateIterator
from daemoneye_eventbus._subscription import QueueListener, Subscription
from daemoneye_eventbus._types import (
    BrokerStatistics,
    ClientInfo,
    CollectionEvent,
    CorrelationFilter,
    EventBusStatistics,
    EventFilter,
    EventSubscription,
    State,
)
from daemoneye_eventbus.errors import EventBusError, ForkedProcess, SubscriptionClosed, SubscriptionRefused

__all__ = ["EventBus"]

E = TypeVar("E", ProcessEvent, NetworkEvent, FilesystemEvent, PerformanceEvent, TriggerRequest)

_log = logging.getLogger("daemoneye_eventbus.client")

_FLUSH_SECONDS: Final = 2.0
_UNCONFIRMED: Final = "closing without the broker's confirmation of the last messages: %s"
_QUEUE_MESSAGES: Final = 65_536
_QUEUE_BYTES: Final = 8 * 1024 * 1024


class EventBus(Publisher):
    """A connection to the bus. Create it with `connect` or `from_broker`; use it with ``async with``, or `shutdown` it.

    `publish_nowait`, `state` and `local_statistics` may be used from any thread; everything else belongs to the event
    loop in which the bus was created, and raises `WrongLoop` elsewhere. In another loop of its thread, `publish`
    and `publish_control` raise it only if they would have to wait.
    """

    _subscriptions: dict[str, weakref.ref[Subscription[Any]]]
    _reserved: set[str]
    _pid: int

    def __new__(cls, *_args: Never, **_named: Never) -> Self:
        raise TypeError("EventBus: make one with EventBus.connect(path) or EventBus.from_broker(broker)")

    @classmethod
    def connect(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        instance: str | None = None,
        config: ClientConfig | None = None,
    ) -> Opening[Self]:
        """Connects to the broker at ``path`` or of ``instance``; with neither, to ``$DAEMONEYE_BROKER_SOCKET``.

        Give at most one of the two. ``config`` holds all settings; its defaults are those of `ClientConfig`.

        Failures that may be temporary (no such file, connection refused, broker busy) are retried for
        ``config.connect_timeout`` seconds; then `ConnectTimeout` is raised, with the last cause. `PathRefused`,
        `PermissionRefused`, `AuthenticationFailed`, `ProtocolError` and `TransportError` are not retried, except that
        the file system is asked once more, after 0.1 s, if it refuses this user.
        """
        return Opening(
            "connect", lambda: cls._connect(path, instance, instance_or_default(ClientConfig, "config", config))
        )

    @classmethod
    def from_broker(cls, broker: Broker, *, config: ClientConfig | None = None) -> Opening[Self]:
        """A bus in the process of ``broker``, which uses neither socket nor codec.

        Of ``config`` it uses congestion, broker_overflow, publish_timeout and client.
        """
        return Opening(
            "from_broker", lambda: cls._from_broker(broker, instance_or_default(ClientConfig, "config", config))
        )

    @classmethod
    async def _connect(cls, path: str | os.PathLike[str] | None, instance: str | None, config: ClientConfig) -> Self:
        if path is not None and instance is not None:
            raise ValueError("path: give either path or instance, not both")
        if path is None and instance is None:
            path = os.environ.get("DAEMONEYE_BROKER_SOCKET") or None
            if path is None:
                raise ValueError("path: give a path or an instance, or set DAEMONEYE_BROKER_SOCKET")
        address = Address(instance=text("instance", instance)) if path is None else Address(path=file_path(path))
        backend = RemoteBackend(Bridge.current(), address, config)
        try:
            await backend.wait_connected()
            return cls._make(backend)
        except BaseException:
            await backend.close(0)
            raise

    @classmethod
    async def _from_broker(cls, broker: Broker, config: ClientConfig) -> Self:
        open_link = getattr(broker, "_local_link", None)
        if open_link is None:
            raise wrong_type("broker", "Broker", broker)
        return cls._make(LocalBackend(broker._bridge(), broker, open_link(config), config))

    @classmethod
    def _make(cls, backend: Backend) -> Self:
        self = super().__new__(cls, backend.native, backend.bridge.waker, backend.room_token)
        self._backend = backend
        self._bridge = backend.bridge
        self._subscriptions = {}
        self._reserved = set()
        self._waiting_publishes = deque()
        self._retry_timer = None
        self._pid = os.getpid()
        self._closing = Closing()
        return self

    # -- publishing, the native half apart

    def publish_many(
        self,
        events: Iterable[CollectionEvent],
        correlation: str | CorrelationMetadata | None = None,
        *,
        topic: str | None = None,
    ) -> Coroutine[None, None, int]:
        """Publishes each of ``events`` and returns how many were accepted; any error has that number as ``accepted``.

        ``correlation`` and ``topic`` are those of `publish`, and apply to all events; with ``correlation=None`` each
        event gets an id of its own.
        """
        return self._publish_many(events, correlation, topic)

    # -- subscribing

    @overload
    def subscribe(
        self,
        *types: type[E],
        queue_messages: int = ...,
        queue_bytes: int = ...,
        overflow: Literal["drop_oldest", "drop_newest", "block"] = ...,
        include_control: Literal[False] = False,
        event_filter: EventFilter | None = ...,
        correlation_filter: CorrelationFilter | None = ...,
    ) -> Opening[Subscription[BusEvent[E]]]: ...
    @overload
    def subscribe(
        self,
        *patterns: str | type[CollectionEvent],
        queue_messages: int = ...,
        queue_bytes: int = ...,
        overflow: Literal["drop_oldest", "drop_newest", "block"] = ...,
        include_control: Literal[False] = False,
        event_filter: EventFilter | None = ...,
        correlation_filter: CorrelationFilter | None = ...,
    ) -> Opening[Subscription[BusEvent[CollectionEvent]]]: ...
    @overload
    def subscribe(
        self,
        *patterns: str | type[CollectionEvent],
        queue_messages: int = ...,
        queue_bytes: int = ...,
        overflow: Literal["drop_oldest", "drop_newest", "block"] = ...,
        include_control: bool,
        event_filter: EventFilter | None = ...,
        correlation_filter: CorrelationFilter | None = ...,
    ) -> Opening[Subscription[BusEvent[CollectionEvent] | ControlMessage]]: ...
    @overload
    def subscribe(
        self,
        subscription: EventSubscription,
        /,
        *,
        queue_messages: int = ...,
        queue_bytes: int = ...,
        overflow: Literal["drop_oldest", "drop_newest", "block"] = ...,
    ) -> Opening[Subscription[BusEvent[CollectionEvent] | ControlMessage]]: ...
    def subscribe(
        self,
        *what: Any,
        queue_messages: int = _QUEUE_MESSAGES,
        queue_bytes: int = _QUEUE_BYTES,
        overflow: Literal["drop_oldest", "drop_newest", "block"] = "drop_oldest",
        include_control: bool = False,
        event_filter: EventFilter | None = None,
        correlation_filter: CorrelationFilter | None = None,
    ) -> Opening[Any]:
        """Subscribes to ``what``: patterns, event types, or one `EventSubscription`.

        When it returns, the broker has acknowledged the subscription. An event type stands for the pattern of its
        topics, as `ProcessEvent` for ``events.process.*``; with only types, events of other types are filtered out.
        ``event_filter`` and ``correlation_filter`` select among the matching messages, at the broker. With
        ``include_control``, control messages are delivered too, unless a filter asks for what they do not have; with
        `TriggerRequest` among several types, so are then events of other types on their topics.

        ``queue_messages`` (65,536) and ``queue_bytes`` (8 MiB) bound the subscription's own queue. When it is full,
        ``overflow`` drops the oldest message (the default) or the newest, or with ``"block"`` stops reading; such a
        subscription opens a connection of its own, as `connect` does, and raises what that raises. Any other waits for
        its answer without limit, also while the bus reconnects. Raises `PatternError`, `SubscriptionRefused`,
        `PermissionRefused` and ``ValueError``.
        """
        filters = (event_filter, correlation_filter)
        options = QueueOptions(queue_messages, queue_bytes, overflow)
        return Opening("subscribe", lambda: self._subscribe(what, filters, options, include_control=include_control))

    async def _subscribe(
        self,
        what: tuple[Any, ...],
        filters: tuple[EventFilter | None, CorrelationFilter | None],
        options: QueueOptions,
        *,
        include_control: bool,
    ) -> Subscription[Any]:
        self._bridge.check()
        self._check()
        options.check()
        spec = specification(what, filters, include_control=include_control)
        name = spec.subscriber_id
        if name in self._reserved or self._find(name) is not None:
            raise SubscriptionRefused(reason=f"subscriber_id {short(name)} is open on this bus already; close it first")
        self._reserved.add(name)
        try:
            return await self._open(spec, options)
        finally:
            self._reserved.discard(name)

    async def _open(self, spec: EventSubscription, options: QueueOptions) -> Subscription[Any]:
        listener = QueueListener()
        token = self._bridge.listen(listener.notify)
        opened = self._backend.open(spec, options, token)
        try:
            subscription = Subscription[Any]._make(opened, spec.subscriber_id, self._bridge, listener, self._forget)
        except BaseException:
            opened.end(True)
            raise
        try:
            await opened.confirm()
            # If the bus was shut down meanwhile, nobody would ever close the subscription.
            self._check()
        except BaseException:
            subscription._abandon()
            raise
        self._track(subscription)
        self._subscriptions[spec.subscriber_id] = weakref.ref(subscription)
        return subscription

    def _find(self, subscriber_id: str) -> Subscription[Any] | None:
        found = self._subscriptions.get(subscriber_id)
        return None if found is None else found()

    def _forget(self, subscription: Subscription[Any]) -> None:
        # A close that was interrupted comes here again, when another subscription may have its id.
        reference = self._subscriptions.get(subscription.subscriber_id)
        if reference is not None and reference() in {None, subscription}:
            self._subscriptions.pop(subscription.subscriber_id, None)

    def _open_subscriptions(self) -> list[Subscription[Any]]:
        # Any thread may collect one meanwhile, which takes it out; a copy is one step.
        found = (reference() for reference in self._subscriptions.copy().values())
        return [subscription for subscription in found if subscription is not None]

    def unsubscribe(self, subscriber_id: str) -> Coroutine[None, None, None]:
        """Closes the subscription ``subscriber_id``; `SubscriptionClosed` if there is none."""
        return self._unsubscribe(subscriber_id)

    async def _unsubscribe(self, subscriber_id: str) -> None:
        self._bridge.check()
        subscription: Subscription[Any] | None = self._find(text("subscriber_id", subscriber_id))
        if subscription is None:
            raise SubscriptionClosed(
                f"no subscription {short(subscriber_id)} is open on this bus", subscriber_id=subscriber_id
            )
        await subscription.close()

    # -- the whole bus

    @property
    def state(self) -> State:
        """``connecting``, ``connected``, ``reconnecting`` or ``closed``."""
        return "closed" if self._closing.begun else self._backend.state

    def state_changes(self) -> StateIterator:
        """Yields each change of `state` from now on; ends after ``closed``, and by ``aclose``."""
        self._bridge.check()
        return StateChanges(self._backend, lambda: self.state)

    def flush(self, timeout: float = 10.0) -> Coroutine[None, None, None]:
        """Returns when every earlier publish of this bus has been routed; ``TimeoutError`` after ``timeout`` seconds.

        With ``peer="original"`` it returns at once, since nothing can have been published.
        """
        return self._flush(timeout)

    async def _flush(self, timeout: float) -> None:
        deadline = Deadline("flush", timeout, self._bridge.check())
        self._check()
        limit = deadline.limit()
        async with limit:
            await self._yield_to_earlier()
            await self._backend.flush()
        if limit.expired:
            raise deadline.missed(self._unconfirmed(), "what was published is kept: flush again, or give more time")

    def statistics(self) -> Coroutine[None, None, EventBusStatistics]:
        """Five totals of the broker.

        With ``peer="original"`` it raises `ProtocolError`, since that broker cannot be asked; for this side's numbers
        use `local_statistics`.
        """
        return self._statistics()

    async def _statistics(self) -> EventBusStatistics:
        self._check()
        return await self._backend.statistics()

    def broker_statistics(self) -> Coroutine[None, None, BrokerStatistics]:
        """All totals of the broker, as `Broker.statistics` returns them.

        For the broker's own user and root only; others get `PermissionRefused`. Raises `ProtocolError` if the broker
        is of a release that knows only what `statistics` returns, and `ConnectionLost` while reconnecting.
        """
        return self._broker_statistics()

    async def _broker_statistics(self) -> BrokerStatistics:
        self._check()
        return await self._backend.broker_statistics()

    def clients(self) -> Coroutine[None, None, list[ClientInfo]]:
        """Who is connected to the broker now, this bus included, as in `Broker.clients`, in the order of ids.

        A connection that begins or ends meanwhile is listed once or not at all. Raises what `broker_statistics` raises.
        """
        return self._clients()

    async def _clients(self) -> list[ClientInfo]:
        self._check()
        return await self._backend.clients()

    def local_statistics(self) -> dict[str, Any]:
        """This side's counters.

        Of the bus, since it was created: ``published``, ``delivered``, ``dropped`` by reason. Of its connection, with
        all buses that share it: ``refused``, ``unconfirmed``, ``unsent``, ``reconnects``, ``decode_errors``.
        """
        return self._own_statistics() | self._backend.local_statistics()

    def drain(self, timeout: float = 10.0) -> Coroutine[None, None, None]:
        """Flushes, lets readers take what is queued for them, and closes; ``TimeoutError`` after ``timeout`` seconds.

        What others publish meanwhile is not waited for. The bus is closed in either case.
        """
        return self._drain(timeout)

    async def _drain(self, timeout: float) -> None:
        deadline = Deadline("drain", timeout, self._bridge.check())
        if self._closing.begun:
            await self._close(0.0)
            return
        limit = deadline.limit()
        # Only a broker that has answered is waited for again.
        goodbye = 0.0
        missed = None
        try:
            async with limit:
                await self._yield_to_earlier()
                await self._backend.flush()
                goodbye = _FLUSH_SECONDS
                open_now = self._open_subscriptions()
                for subscription, queued in [(one, await one._drain_target()) for one in open_now]:
                    await subscription._wait_delivered(queued)
            if limit.expired:
                missed = self._undrained()
        finally:
            await self._close(goodbye)
        if missed is not None:
            raise deadline.missed(*missed)

    def _undrained(self) -> tuple[str, str]:
        waiting = sum(subscription.pending for subscription in self._open_subscriptions())
        if waiting:
            what = f"readers had not taken {waiting} messages"
            return what, "the bus is closed; read or close the subscriptions before, or give more time"
        return self._unconfirmed(), "the bus is closed; give more time"

    def _unconfirmed(self) -> str:
        return f"no confirmation came from the broker (the bus is {self.state})"

    def shutdown(self) -> Coroutine[None, None, None]:
        """Flushes for at most 2 s (with ``congestion="block"`` for ``publish_timeout`` if longer), then closes.

        Idempotent: waits for one that is under way, and finishes one that was interrupted. It does not wait for a
        connection that is broken or breaks meanwhile: what is unsent is counted and logged.
        """
        return self._shutdown()

    async def _shutdown(self) -> None:
        self._bridge.check()
        bound = _FLUSH_SECONDS
        if self._backend.config.congestion == "block":
            bound = max(bound, self._backend.config.publish_timeout)
        limit = QuietTimeout(asyncio.timeout(bound))
        goodbye = 0.0
        try:
            if self.state == "connected":
                async with limit:
                    await self._yield_to_earlier()
                    await self._backend.last_flush()
                if limit.expired:
                    _log.warning(_UNCONFIRMED, "no answer")
                else:
                    goodbye = _FLUSH_SECONDS
        except EventBusError as error:
            _log.warning(_UNCONFIRMED, error)
        finally:
            await self._close(goodbye)

    async def _close(self, goodbye: float) -> None:
        await self._closing.run(functools.partial(self._close_all, goodbye))

    async def _close_all(self, goodbye: float) -> None:
        self._close_core()
        open_now = self._open_subscriptions()  # Kept: one that is collected meanwhile would end at once.
        try:
            for subscription in open_now:
                subscription._begin_close(waits=goodbye > 0)
        finally:
            await self._backend.close(goodbye)
            self._backend.room.call()
        for subscription in open_now:
            subscription._abandon()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, typ: object, value: BaseException | None, traceback: object) -> None:
        if not is_left_in_fork(value, self._pid):
            await self._shutdown()

    def __del__(self) -> None:
        closing: Closing | None = getattr(self, "_closing", None)
        if closing is None or closing.done or is_forked(self._pid):
            return
        # Not of one whose shutdown was interrupted: it was not forgotten.
        said = None if closing.begun else f"{self!r} was forgotten; shut it down or use async with"
        closing.run_at_once(self._backend.abandon)
        # Last: it may raise.
        if said is not None:
            warnings.warn(said, ResourceWarning, stacklevel=2)

    def __repr__(self) -> str:
        try:
            state: str = self.state
        except ForkedProcess:
            state = "of the parent process"
        return f"<EventBus {state}>"
