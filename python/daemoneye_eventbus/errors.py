"""The errors of the bus.

``EventBusError`` is the base; each derived class is a case that a caller can handle in its own way. Where Python has a
fitting built-in exception, the class derives from that too. Details are attributes, and survive pickling.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

__all__ = [
    "AuthenticationFailed",
    "BrokerAlreadyRunning",
    "BrokerBusy",
    "ConnectTimeout",
    "ConnectionClosed",
    "ConnectionLost",
    "DecodeError",
    "EventBusError",
    "ForkedProcess",
    "FrameTooLarge",
    "PathRefused",
    "PatternError",
    "PermissionRefused",
    "ProtocolError",
    "PublishNotSupported",
    "PublishTimeout",
    "SubscriptionClosed",
    "SubscriptionRefused",
    "TopicError",
    "TransportError",
    "WouldBlock",
    "WrongLoop",
]


class EventBusError(Exception):
    """Base of all errors of this package; ``message`` says what to do.

    ``accepted`` is how many events of a ``publish_many``, or of a publish that waited for room, were accepted before
    the error; ``None`` for other calls. It is 1 after a publish in the broker's process that waited in vain for some
    readers only: the others have the event, and it is lost for those that had no room.
    """

    _facts: ClassVar[tuple[str, ...]] = ()
    accepted: int | None

    def __init__(self, message: str = "", *, accepted: int | None = None) -> None:
        super().__init__(message)
        self.accepted = accepted

    def __reduce__(self) -> tuple[Any, ...]:
        facts = {name: getattr(self, name) for name in ("accepted", *self._facts)}
        # Whatever else was put on it goes along, notes above all.
        return _rebuild, (type(self), str(self), facts), self.__dict__


def _rebuild(cls: type[EventBusError], message: str, facts: dict[str, Any]) -> EventBusError:
    return cls(message, **facts)


class ConnectionClosed(EventBusError, ConnectionError):
    """This bus or broker was closed by its own process; create a new one."""


class ConnectionLost(EventBusError, ConnectionError):
    """The connection broke, and this call, or a bus with ``reconnect=False``, does not wait for another; try again."""


class SubscriptionClosed(EventBusError):
    """The subscription ``subscriber_id`` has ended; subscribe again if more is wanted."""

    _facts = ("subscriber_id",)
    subscriber_id: str | None

    def __init__(self, message: str = "", *, subscriber_id: str | None = None, accepted: int | None = None) -> None:
        if not message and subscriber_id is not None:
            message = f"the subscription {subscriber_id!r} is closed; subscribe again if more is wanted"
        super().__init__(message, accepted=accepted)
        self.subscriber_id = subscriber_id


class ConnectTimeout(EventBusError, TimeoutError):
    """No broker answered at ``path`` within ``timeout`` seconds; ``cause`` says why the last attempt failed."""

    _facts = ("path", "timeout", "cause")
    path: str | None
    timeout: float | None
    cause: str | None

    def __init__(
        self,
        message: str = "",
        *,
        path: str | None = None,
        timeout: float | None = None,
        cause: str | None = None,
        accepted: int | None = None,
    ) -> None:
        super().__init__(message, accepted=accepted)
        self.path = path
        self.timeout = timeout
        self.cause = cause


class BrokerBusy(EventBusError):
    """The broker has no room for another connection, or for what a client asks.

    `EventBus.connect` does not raise it: it retries, and then raises `ConnectTimeout`, whose ``cause`` says that the
    broker is busy. Only a broker of another release could refuse a request with it.
    """


class BrokerAlreadyRunning(EventBusError, OSError):
    """At ``path`` another broker listens, or a process that does not answer; ``pid`` is that process, if known."""

    _facts = ("path", "pid")
    path: str | None
    pid: int | None

    def __init__(
        self, message: str = "", *, path: str | None = None, pid: int | None = None, accepted: int | None = None
    ) -> None:
        super().__init__(message, accepted=accepted)
        self.path = path
        self.pid = pid


class PathRefused(EventBusError, OSError):
    """The broker's path is not safe to use: ``reason`` says what is wrong with ``path``."""

    _facts = ("path", "reason")
    path: str | None
    reason: str | None

    def __init__(
        self, message: str = "", *, path: str | None = None, reason: str | None = None, accepted: int | None = None
    ) -> None:
        super().__init__(message, accepted=accepted)
        self.path = path
        self.reason = reason


class PermissionRefused(EventBusError, PermissionError):
    """``uid`` may not do this: ``reason``. ``topic`` is that of a refused publish, else ``None``."""

    _facts = ("uid", "reason", "topic")
    uid: int | None
    reason: str | None
    topic: str | None

    def __init__(
        self,
        message: str = "",
        *,
        uid: int | None = None,
        reason: str | None = None,
        topic: str | None = None,
        accepted: int | None = None,
    ) -> None:
        super().__init__(message, accepted=accepted)
        self.uid = uid
        self.reason = reason
        self.topic = topic


class AuthenticationFailed(EventBusError, PermissionError):
    """The two sides do not hold the same token."""


class ProtocolError(EventBusError):
    """The peer sent something that the protocol does not allow."""


class DecodeError(EventBusError, ValueError):
    """The bytes are not valid in ``dialect``: ``reason``, at ``offset``.

    ``offset`` is where the item that is wrong or cut short begins, its length included; for text that is not UTF-8, the
    first wrong byte.
    """

    _facts = ("dialect", "offset", "reason")
    dialect: str | None
    offset: int | None
    reason: str | None

    def __init__(
        self,
        message: str = "",
        *,
        dialect: str | None = None,
        offset: int | None = None,
        reason: str | None = None,
        accepted: int | None = None,
    ) -> None:
        super().__init__(message, accepted=accepted)
        self.dialect = dialect
        self.offset = offset
        self.reason = reason


class FrameTooLarge(EventBusError, ValueError):
    """The encoded message has ``size`` bytes, above one side's ``limit``; send less at once or raise ``max_frame``."""

    _facts = ("size", "limit")
    size: int | None
    limit: int | None

    def __init__(
        self, message: str = "", *, size: int | None = None, limit: int | None = None, accepted: int | None = None
    ) -> None:
        super().__init__(message, accepted=accepted)
        self.size = size
        self.limit = limit


class TopicError(EventBusError, ValueError):
    """This message may not be published on ``topic``: ``reason``."""

    _facts = ("topic", "reason")
    topic: str | None
    reason: str | None

    def __init__(
        self, message: str = "", *, topic: str | None = None, reason: str | None = None, accepted: int | None = None
    ) -> None:
        super().__init__(message, accepted=accepted)
        self.topic = topic
        self.reason = reason


class PatternError(EventBusError, ValueError):
    """``pattern`` is not a valid pattern: ``reason``."""

    _facts = ("pattern", "reason")
    pattern: str | None
    reason: str | None

    def __init__(
        self, message: str = "", *, pattern: str | None = None, reason: str | None = None, accepted: int | None = None
    ) -> None:
        super().__init__(message, accepted=accepted)
        self.pattern = pattern
        self.reason = reason


class SubscriptionRefused(EventBusError):
    """The subscription was not accepted: ``reason``, and the ``limit`` if one was exceeded."""

    _facts = ("reason", "limit")
    reason: str | None
    limit: int | None

    def __init__(
        self, message: str = "", *, reason: str | None = None, limit: int | None = None, accepted: int | None = None
    ) -> None:
        if not message and reason is not None:
            message = f"subscription refused: {reason}"
        super().__init__(message, accepted=accepted)
        self.reason = reason
        self.limit = limit


class PublishTimeout(EventBusError, TimeoutError):
    """There was no room for the message within ``timeout`` seconds, in the send buffer or, in process, in a queue."""

    _facts = ("timeout",)
    timeout: float | None

    def __init__(self, message: str = "", *, timeout: float | None = None, accepted: int | None = None) -> None:
        super().__init__(message, accepted=accepted)
        self.timeout = timeout


class PublishNotSupported(EventBusError):
    """The broker at the other end reads nothing from its clients."""


class WouldBlock(EventBusError, asyncio.QueueEmpty):
    """No message is queued, or there is no room for one, and the call must not wait."""


class WrongLoop(EventBusError, RuntimeError):
    """The object belongs to another event loop; use one bus per loop."""


class ForkedProcess(EventBusError, RuntimeError):
    """The object belongs to ``owner_pid`` and this is ``current_pid``; create a new one after the fork."""

    _facts = ("owner_pid", "current_pid")
    owner_pid: int | None
    current_pid: int | None

    def __init__(
        self,
        message: str = "",
        *,
        owner_pid: int | None = None,
        current_pid: int | None = None,
        accepted: int | None = None,
    ) -> None:
        super().__init__(message, accepted=accepted)
        self.owner_pid = owner_pid
        self.current_pid = current_pid


class TransportError(EventBusError, OSError):
    """The operating system reported an error (``cause``, ``errno``) during ``action``."""

    _facts = ("action", "cause", "errno")
    action: str | None
    cause: str | None

    def __init__(
        self,
        message: str = "",
        *,
        action: str | None = None,
        cause: str | None = None,
        errno: int | None = None,
        accepted: int | None = None,
    ) -> None:
        super().__init__(message, accepted=accepted)
        self.action = action
        self.cause = cause
        self.errno = errno
