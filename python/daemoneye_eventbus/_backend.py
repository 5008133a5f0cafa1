"""What a bus needs of its broker, over a connection or, in the broker's own process, without one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemoneye_eventbus._backpressure import RoomCallbacks
    from daemoneye_eventbus._bindings import Link, LocalLink, Source
    from daemoneye_eventbus._config import ClientConfig
    from daemoneye_eventbus._loop import Bridge
    from daemoneye_eventbus._queue_options import QueueOptions
    from daemoneye_eventbus._types import BrokerStatistics, ClientInfo, EventBusStatistics, EventSubscription, State

__all__ = ["Backend", "OpenedQueue"]


@dataclass(frozen=True, slots=True)
class OpenedQueue:
    """A subscription's queue, and what its backend does for it."""

    source: Source
    confirm: Callable[[], Any]
    """Coroutine function: waits for the broker's answer."""
    arrived: Callable[[], Any]
    """Coroutine function: waits until the queue has got all that the broker had for it at the last flush of its bus."""
    end: Callable[[bool], Callable[[], Any] | None]
    """Ends it; harmless if it has ended. With ``True`` from any thread; else it may return a coroutine function, which
    waits for the broker's confirmation. A backend that is closed meanwhile waits for it too. Where that was
    interrupted, both can be called again, and wait for the same."""
    failure: Callable[[], BaseException | None]
    """Why it ended, if not by its owner."""


class Backend(Protocol):
    """Implemented by `LocalBackend` and `RemoteBackend`."""

    bridge: Bridge
    config: ClientConfig
    room: RoomCallbacks
    room_token: int

    @property
    def native(self) -> Link | LocalLink: ...
    @property
    def state(self) -> State: ...
    def observe(self, observer: Callable[[State], None]) -> Callable[[], None]: ...
    def open(self, spec: EventSubscription, options: QueueOptions, token: int) -> OpenedQueue: ...
    def flush_soon(self) -> None: ...
    def kernel_is_full(self) -> None: ...
    async def flush(self) -> None: ...
    async def last_flush(self) -> None: ...
    async def statistics(self) -> EventBusStatistics: ...
    async def broker_statistics(self) -> BrokerStatistics: ...
    async def clients(self) -> list[ClientInfo]: ...
    def local_statistics(self) -> dict[str, Any]: ...
    async def close(self, goodbye: float) -> None: ...
    def abandon(self) -> None: ...
