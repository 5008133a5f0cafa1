"""The types off the hot path: what a subscriber asks for, and numbers.

True frozen dataclasses; what they are given is checked and, where it can change, copied: lists become tuples, maps
become read-only mappings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence  # noqa: TC003  # tools that resolve the fields' types look for it here
from dataclasses import dataclass, field
from typing import Final, Literal, Self, TypeAlias

from daemoneye_eventbus._checks import choice, flags, integer, items, pairs, place, short, store, text, wrong
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
"""The state of a bus's connection."""

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


def _placed(where: str, entries: Iterable[tuple[object, object]]) -> Iterator[tuple[str, str, object]]:
    """Each key, where its value stands, and the value."""
    for given, item in entries:
        key = _text(f"{where}: a key", given)
        yield key, f"{where}[{short(key)}]", item


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
        store(owner, name, FrozenMap({key: _text(at, item) for key, at, item in _placed(where, entries)}))


def _counters(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        where = place(owner, name)
        entries = pairs(where, value, "a mapping of str to int")
        store(owner, name, FrozenMap({key: integer(at, item, 0, _U64) for key, at, item in _placed(where, entries)}))


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
    """What a subscriber can process.

    Capabilities filter nothing. A subscription without patterns subscribes to ``events.{type}.*`` of each of
    ``event_types``.
    """

    event_types: Sequence[str] = ()
    """Any of process, network, filesystem, performance, trigger."""
    collectors: Sequence[str] = ()
    """Names of collectors; informative, the bus does not use them."""
    max_priority: int = 0
    """0 to 255; informative, the bus does not use it."""

    def __post_init__(self) -> None:
        _text_tuples(self, "event_types", "collectors")
        _integers(self, _U8, "max_priority")


@dataclass(frozen=True)
class EventFilter(_Value):
    """Which of the matching events a subscription receives.

    An empty field restricts nothing. If several fields are set, an event must satisfy all of them; of a list it must
    match one entry. An event that does not have the restricted field is excluded.
    """

    event_types: Sequence[str] = ()
    """The event is of one of these kinds: process, network, filesystem, performance, trigger."""
    pids: Sequence[int] = ()
    """The event is a process event with one of these pids."""
    min_priority: int | None = None
    """The event is a trigger request of at least this priority, 0 to 255."""
    metadata_filters: Mapping[str, str] = field(default_factory=_no_texts)
    """All of these pairs are in the event's metadata."""
    topic_filters: Sequence[str] = ()
    """One of these patterns matches the topic."""
    source_collectors: Sequence[str] = ()
    """It is from one of these collectors: metadata key ``collector``, else correlation tag ``source_process``."""

    def __post_init__(self) -> None:
        _text_tuples(self, "event_types", "topic_filters", "source_collectors")
        where = place(self, "pids")
        pids = tuple(integer(where, pid, 0, _U32) for pid in items(where, self.pids, "a sequence of int"))
        store(self, "pids", pids)
        _optional_integers(self, _U8, "min_priority")
        _maps(self, "metadata_filters")


@dataclass(frozen=True)
class CorrelationFilter(_Value):
    """Which of the matching messages a subscription receives, by their correlation metadata.

    The rules are those of `EventFilter`.
    """

    correlation_ids: Sequence[str] = ()
    """The correlation id is one of these."""
    correlation_patterns: Sequence[str] = ()
    """One of these, of up to 256 bytes, matches the id, the parent's or the root's; ``*`` is any run of characters."""
    parent_correlation_ids: Sequence[str] = ()
    """The parent's id is one of these."""
    root_correlation_ids: Sequence[str] = ()
    """The root's id is one of these."""
    workflow_stages: Sequence[str] = ()
    """The workflow stage is one of these."""
    required_tags: Mapping[str, str] = field(default_factory=_no_texts)
    """All of these pairs are among the tags."""
    any_tags: Mapping[str, str] = field(default_factory=_no_texts)
    """At least one of these pairs is among the tags."""
    min_sequence: int | None = None
    """Lowest sequence number, inclusive; one above `max_sequence` is refused at `subscribe`, since nothing matches."""
    max_sequence: int | None = None
    """Highest sequence number, inclusive."""

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
    """A complete request for a subscription."""

    subscriber_id: str
    """Name of the subscription, unique on its bus."""
    capabilities: SourceCaps = field(default_factory=SourceCaps)
    """Gives the patterns if there are no ``topic_patterns``."""
    event_filter: EventFilter | None = None
    """Which of the matching events it receives; ``None`` = all."""
    correlation_filter: CorrelationFilter | None = None
    """Which of the matching messages it receives, by their correlation; ``None`` = all."""
    topic_patterns: Sequence[str] | None = None
    """Topics and patterns; an event is delivered once, however many of them match."""
    enable_wildcards: bool = True
    """Whether patterns may have wildcards; if not, one with a wildcard raises `PatternError`."""
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
    """Who published a message, as reported by the kernel, whatever the message claims."""

    uid: int
    """User id; on Windows the last number of the SID."""
    pid: int | None
    """Process id when it connected, which may be another process's by now; ``None`` if the kernel reports none."""
    client_id: str
    """The connection's id, as in `ClientInfo.id`."""

    def __post_init__(self) -> None:
        _integers(self, _U32, "uid")
        _optional_integers(self, _U32, "pid")
        _texts(self, "client_id")


@dataclass(frozen=True)
class EventBusStatistics(_Value):
    """The broker's totals since it started."""

    messages_published: int = 0
    """Accepted publishes, whether or not anybody subscribed."""
    messages_delivered: int = 0
    """(message, subscription) pairs handed to the kernel or to an in-process queue."""
    active_subscribers: int = 0
    """Current subscriptions, plus peers of the original."""
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
    """Accepted publishes, whether or not anybody subscribed."""
    messages_delivered: int = 0
    """(message, subscription) pairs handed to the kernel or to an in-process queue."""
    active_subscribers: int = 0
    """Current subscriptions, plus peers of the original."""
    active_topics: int = 0
    """Distinct patterns now subscribed."""
    uptime_seconds: int = 0
    """Whole seconds since it started."""
    dropped: Mapping[str, int] = field(default_factory=_no_counts)
    """(message, subscription) pairs that matched and were not delivered, by reason."""
    refused: Mapping[str, int] = field(default_factory=_no_counts)
    """Publishes, frames and connections that were not accepted, by reason."""
    connections: int = 0
    """Current connections, of every kind."""
    queued_messages: int = 0
    """Messages in all queues now."""
    queued_bytes: int = 0
    """Bytes in all queues now."""
    refused_uids: Mapping[str, int] = field(default_factory=_no_counts)
    """Connects of users who may not connect, by uid in decimal; for the first 64 users (``refused`` counts all)."""
    unfinished_bytes: int = 0
    """Bytes reserved for frames that are incomplete or wait for full queues, not counting 16 KiB per connection."""

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
    """User id reported by the kernel; ``None`` if it reports none."""
    pid: int | None
    """Process id reported by the kernel; ``None`` if it reports none."""
    dialect: str
    """Encoding that the client uses."""
    peer: Literal["native", "original", "local"]
    """``local`` is a bus in the broker's own process, ``original`` a peer of the Rust original."""
    subscriptions: int = 0
    """Its current subscriptions."""
    queued_messages: int = 0
    """Messages queued for it now."""
    queued_bytes: int = 0
    """Bytes queued for it now."""
    delivered: int = 0
    """(message, subscription) pairs handed to the kernel or to its in-process queues."""
    dropped: Mapping[str, int] = field(default_factory=_no_counts)
    """(message, subscription) pairs that matched and were not delivered, by reason."""
    published: int = 0
    """Accepted publishes, whether or not anybody subscribed."""

    def __post_init__(self) -> None:
        _texts(self, "id", "name", "dialect")
        choice(place(self, "peer"), self.peer, "native", "original", "local")
        _optional_integers(self, _U32, "uid", "pid")
        _integers(self, _U64, "subscriptions", "queued_messages", "queued_bytes", "delivered", "published")
        _counters(self, "dropped")
