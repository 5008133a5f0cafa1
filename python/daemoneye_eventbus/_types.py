"""The types off the hot path: what a subscriber asks for, and numbers.

True frozen dataclasses; what they are given is checked and, where it can change, copied: lists become tuples, maps
become read-only mappings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence  # noqa: TC003  # tools that resolve the fields' types look for it here
from dataclasses import dataclass, field
from typing import Final, Literal, Self, TypeAlias

from daemoneye_eventbus._checks import choice, flags, integer, items, pairs, place, store, text, wrong
from daemoneye_eventbus._native import (
    FilesystemEvent,
    FrozenMap,
    NetworkEvent,
    PerformanceEvent,
    ProcessEvent,
    TriggerRequest,
)

__all__ = [
    "BrokerStatistics",
    "ClientInfo",
    "CollectionEvent",
    "CorrelationFilter",
    "EventBusStatistics",
    "EventFilter",
    "EventSubscription",
    "Sender",
    "SourceCaps",
    "State",
]

CollectionEvent: TypeAlias = ProcessEvent | NetworkEvent | FilesystemEvent | PerformanceEvent | TriggerRequest
"""Any of the five events."""

# Two literals: to stubtest one of several words is a union, and only this is one at run time too.
State: TypeAlias = Literal["connecting"] | Literal["connected", "reconnecting", "closed"]  # noqa: PYI030
"""Where a bus stands."""

_U8: Final = 2**8 - 1
_U32: Final = 2**32 - 1
_U64: Final = 2**64 - 1


def _text(where: str, value: object) -> str:
    given = text(where, value)
    try:
        given.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{where}: holds surrogates, which are not Unicode; escape it with os_text()") from None
    return given


def _integers(owner: object, maximum: int, *names: str) -> None:
    for name in names:
        store(owner, name, integer(place(owner, name), getattr(owner, name), 0, maximum))


def _optional_integers(owner: object, maximum: int, *names: str) -> None:
    for name in names:
        if getattr(owner, name) is not None:
            _integers(owner, maximum, name)


def _texts(owner: object, *names: str) -> None:
    for name in names:
        store(owner, name, _text(place(owner, name), getattr(owner, name)))


def _text_tuples(owner: object, *names: str) -> None:
    for name in names:
        where = place(owner, name)
        store(
            owner, name, tuple(_text(where, item) for item in items(where, getattr(owner, name), "a sequence of str"))
        )


def _maps(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        where = place(owner, name)
        entries = pairs(where, value, "a mapping of str to str")
        store(owner, name, FrozenMap({_text(where, key): _text(where, item) for key, item in entries}))


def _counters(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        where = place(owner, name)
        entries = pairs(where, value, "a mapping of str to int")
        store(owner, name, FrozenMap({_text(where, key): integer(where, item, 0, _U64) for key, item in entries}))


class _Value:
    """Immutable throughout, so a copy is the object itself."""

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


def _no_texts() -> Mapping[str, str]:
    return FrozenMap()


def _no_counts() -> Mapping[str, int]:
    return FrozenMap()


@dataclass(frozen=True)
class SourceCaps(_Value):
    """What a subscriber can work with; without patterns its subscription's patterns are ``events.{type}.*`` of these.

    Capabilities filter nothing.
    """

    event_types: Sequence[str] = ()
    """Of process, network, filesystem, performance, trigger."""
    collectors: Sequence[str] = ()
    """Names of collectors, for whoever reads them; the bus does not."""
    max_priority: int = 0
    """0 to 255, for whoever reads it; the bus does not."""

    def __post_init__(self) -> None:
        _text_tuples(self, "event_types", "collectors")
        _integers(self, _U8, "max_priority")


@dataclass(frozen=True)
class EventFilter(_Value):
    """Which of the matching events a subscription takes.

    Empty means no restriction; several restrictions must all hold; within one list any must. A restriction on something
    that an event does not have excludes it.
    """

    event_types: Sequence[str] = ()
    """Of process, network, filesystem, performance, trigger."""
    pids: Sequence[int] = ()
    """Of process events."""
    min_priority: int | None = None
    """Of trigger requests, 0 to 255."""
    metadata_filters: Mapping[str, str] = field(default_factory=_no_texts)
    """All of these pairs are in the event's metadata."""
    topic_filters: Sequence[str] = ()
    """Patterns, any of which the topic meets."""
    source_collectors: Sequence[str] = ()
    """The metadata key ``collector``, else the correlation tag ``source_process``."""

    def __post_init__(self) -> None:
        _text_tuples(self, "event_types", "topic_filters", "source_collectors")
        where = place(self, "pids")
        pids = tuple(integer(where, pid, 0, _U32) for pid in items(where, self.pids, "a sequence of int"))
        store(self, "pids", pids)
        _optional_integers(self, _U8, "min_priority")
        _maps(self, "metadata_filters")


@dataclass(frozen=True)
class CorrelationFilter(_Value):
    """Which of the matching messages a subscription takes, by their correlation metadata.

    The rules are those of `EventFilter`.
    """

    correlation_ids: Sequence[str] = ()
    """Any of these is the correlation id."""
    correlation_patterns: Sequence[str] = ()
    """Any of these matches the id, the parent's or the root's; ``*`` is any run of characters, 256 bytes at most."""
    parent_correlation_ids: Sequence[str] = ()
    """Any of these is the parent's id."""
    root_correlation_ids: Sequence[str] = ()
    """Any of these is the root's id."""
    workflow_stages: Sequence[str] = ()
    """Any of these is the workflow stage."""
    required_tags: Mapping[str, str] = field(default_factory=_no_texts)
    """All of these pairs are among the tags."""
    any_tags: Mapping[str, str] = field(default_factory=_no_texts)
    """At least one of these pairs is among the tags."""
    min_sequence: int | None = None
    """Lowest sequence number, itself included; subscribing refuses one above `max_sequence`, which nothing matches."""
    max_sequence: int | None = None
    """Highest sequence number, itself included."""

    def __post_init__(self) -> None:
        _text_tuples(
            self,
            "correlation_ids",
            "correlation_patterns",
            "parent_correlation_ids",
            "root_correlation_ids",
            "workflow_stages",
        )
        _maps(self, "required_tags", "any_tags")
        _optional_integers(self, _U64, "min_sequence", "max_sequence")


@dataclass(frozen=True)
class EventSubscription(_Value):
    """One subscription as asked for."""

    subscriber_id: str
    """Its name on its bus, where no other subscription has the same."""
    capabilities: SourceCaps = field(default_factory=SourceCaps)
    """Where the patterns come from if there are no ``topic_patterns``."""
    event_filter: EventFilter | None = None
    """Which of the matching events it takes; ``None`` = all."""
    correlation_filter: CorrelationFilter | None = None
    """Which of the matching messages it takes by their correlation; ``None`` = all."""
    topic_patterns: Sequence[str] | None = None
    """Topics and patterns; an event is delivered once, however many of them match."""
    enable_wildcards: bool = True
    """Whether a pattern may have wildcards; if not, one that has is `PatternError`."""
    include_control: bool = False
    """Whether control messages are delivered too."""

    def __post_init__(self) -> None:
        _texts(self, "subscriber_id")
        if not isinstance(self.capabilities, SourceCaps):
            raise wrong(place(self, "capabilities"), "SourceCaps", self.capabilities)
        if not isinstance(self.event_filter, EventFilter | None):
            raise wrong(place(self, "event_filter"), "EventFilter or None", self.event_filter)
        if not isinstance(self.correlation_filter, CorrelationFilter | None):
            raise wrong(place(self, "correlation_filter"), "CorrelationFilter or None", self.correlation_filter)
        if self.topic_patterns is not None:
            _text_tuples(self, "topic_patterns")
        flags(self, "enable_wildcards", "include_control")


@dataclass(frozen=True)
class Sender(_Value):
    """Who published a message: the kernel's word, not the message's."""

    uid: int
    """User id, as the kernel says it; on Windows the last number of the SID."""
    pid: int | None
    """At the time of connecting; ``None`` where the kernel does not say. It may be another process's by now."""
    client_id: str
    """As in `ClientInfo.id`."""

    def __post_init__(self) -> None:
        _integers(self, _U32, "uid")
        _optional_integers(self, _U32, "pid")
        _texts(self, "client_id")


@dataclass(frozen=True)
class EventBusStatistics(_Value):
    """The broker's totals since it started."""

    messages_published: int = 0
    """Accepted publishes, with or without a reader."""
    messages_delivered: int = 0
    """(message, subscription) pairs handed to the kernel or to an in-process queue."""
    active_subscribers: int = 0
    """Live subscriptions, plus peers of the original."""
    active_topics: int = 0
    """Distinct patterns now subscribed."""
    uptime_seconds: int = 0
    """Whole seconds since it started."""

    def __post_init__(self) -> None:
        _integers(
            self,
            _U64,
            "messages_published",
            "messages_delivered",
            "active_subscribers",
            "active_topics",
            "uptime_seconds",
        )


@dataclass(frozen=True)
class BrokerStatistics(_Value):
    """The broker's totals since it started, with what it dropped and refused by reason."""

    messages_published: int = 0
    """Accepted publishes, with or without a reader."""
    messages_delivered: int = 0
    """(message, subscription) pairs handed to the kernel or to an in-process queue."""
    active_subscribers: int = 0
    """Live subscriptions, plus peers of the original."""
    active_topics: int = 0
    """Distinct patterns now subscribed."""
    uptime_seconds: int = 0
    """Whole seconds since it started."""
    dropped: Mapping[str, int] = field(default_factory=_no_counts)
    """(message, subscription) pairs that matched and were not delivered, by reason."""
    refused: Mapping[str, int] = field(default_factory=_no_counts)
    """Publishes, frames and connections that were not accepted, by reason."""
    connections: int = 0
    """Connections now, of every kind."""
    queued_messages: int = 0
    """Messages that wait in all queues now."""
    queued_bytes: int = 0
    """Bytes that wait in all queues now."""
    refused_uids: Mapping[str, int] = field(default_factory=_no_counts)
    """How often users who may not connect have tried, by uid in decimals; the first 64 users (``refused`` has all)."""
    unfinished_bytes: int = 0
    """Bytes set aside for what was read and is not whole, or waits for full queues; without 16 KiB per connection."""

    def __post_init__(self) -> None:
        _integers(
            self,
            _U64,
            "messages_published",
            "messages_delivered",
            "active_subscribers",
            "active_topics",
            "uptime_seconds",
            "connections",
            "queued_messages",
            "queued_bytes",
            "unfinished_bytes",
        )
        _counters(self, "dropped", "refused", "refused_uids")


@dataclass(frozen=True)
class ClientInfo(_Value):
    """One connection, as the broker sees it."""

    id: str
    """UUID of the connection, for `Broker.disconnect_client`."""
    name: str
    """What the client calls itself; not to be trusted."""
    uid: int | None
    """As the kernel says; ``None`` where it does not."""
    pid: int | None
    """As the kernel says; ``None`` where it does not."""
    dialect: str
    """Encoding that it speaks."""
    peer: Literal["native", "original", "local"]
    """``local`` is a bus in the broker's own process."""
    subscriptions: int = 0
    """Its live subscriptions."""
    queued_messages: int = 0
    """Messages that wait for it."""
    queued_bytes: int = 0
    """Bytes that wait for it."""
    delivered: int = 0
    """(message, subscription) pairs handed to the kernel or to its in-process queues."""
    dropped: Mapping[str, int] = field(default_factory=_no_counts)
    """(message, subscription) pairs that matched and were not delivered, by reason."""
    published: int = 0
    """Accepted publishes, with or without a reader."""

    def __post_init__(self) -> None:
        _texts(self, "id", "name", "dialect")
        choice(place(self, "peer"), self.peer, "native", "original", "local")
        _optional_integers(self, _U32, "uid", "pid")
        _integers(self, _U64, "subscriptions", "queued_messages", "queued_bytes", "delivered", "published")
        _counters(self, "dropped")
