"""The types off the hot path: what a subscriber asks for, and numbers.

True frozen dataclasses; what they are given is checked and, where it can change, copied: lists become tuples, maps
become read-only mappings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence  # noqa: TC003  # tools that resolve the fields' types look for it here
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Self, TypeAlias

from daemoneye_eventbus._checks import choice, flags, integer, items, pairs, place, short, store, text, wrong_type
from daemoneye_eventbus._native import (
    FilesystemEvent,
    FrozenMap,
    NetworkEvent,
    PerformanceEvent,
    ProcessEvent,
    TriggerRequest,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
    ``event_types``, and for ``trigger`` also to ``control.trigger.request``, where trigger requests are published.

    Attributes:
        event_types: Any of process, network, filesystem, performance, trigger. A subscription without patterns refuses
            other words (`PatternError`); with patterns they are informative.
        collectors: Names of collectors; informative, the bus does not use them.
        max_priority: 0 to 255; informative, the bus does not use it.
    """

    event_types: Sequence[str] = ()
    collectors: Sequence[str] = ()
    max_priority: int = 0

    def __post_init__(self) -> None:
        _text_tuples(self, "event_types", "collectors")
        _integers(self, _U8, "max_priority")


@dataclass(frozen=True)
class EventFilter(_Value):
    """Which of the matching events a subscription receives.

    An empty field restricts nothing. If several fields are set, an event must satisfy all of them; of a list it must
    match one entry. An event that does not have the restricted field is excluded.

    Attributes:
        event_types: The event is of one of these kinds: process, network, filesystem, performance, trigger.
        pids: The event is a process event with one of these pids.
        min_priority: The event is a trigger request of at least this priority, 0 to 255.
        metadata_filters: All of these pairs are in the event's metadata.
        topic_filters: One of these patterns matches the topic.
        source_collectors: It is from one of these collectors: metadata key ``collector``, else correlation tag
            ``source_process``.
    """

    event_types: Sequence[str] = ()
    pids: Sequence[int] = ()
    min_priority: int | None = None
    metadata_filters: Mapping[str, str] = field(default_factory=_no_texts)
    topic_filters: Sequence[str] = ()
    source_collectors: Sequence[str] = ()

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

    Attributes:
        correlation_ids: The correlation id is one of these.
        correlation_patterns: One of these, of up to 256 bytes, matches the id, the parent's or the root's; ``*`` is
            any run of characters.
        parent_correlation_ids: The parent's id is one of these.
        root_correlation_ids: The root's id is one of these.
        workflow_stages: The workflow stage is one of these.
        required_tags: All of these pairs are among the tags.
        any_tags: At least one of these pairs is among the tags.
        min_sequence: Lowest sequence number, inclusive; not above `max_sequence`.
        max_sequence: Highest sequence number, inclusive.
    """

    correlation_ids: Sequence[str] = ()
    correlation_patterns: Sequence[str] = ()
    parent_correlation_ids: Sequence[str] = ()
    root_correlation_ids: Sequence[str] = ()
    workflow_stages: Sequence[str] = ()
    required_tags: Mapping[str, str] = field(default_factory=_no_texts)
    any_tags: Mapping[str, str] = field(default_factory=_no_texts)
    min_sequence: int | None = None
    max_sequence: int | None = None

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
        least, most = self.min_sequence, self.max_sequence
        if least is not None and most is not None and least > most:
            raise ValueError(
                f"{place(self, 'min_sequence')}: {least} is above max_sequence {most}, so that nothing could match; "
                "turn them over"
            )


@dataclass(frozen=True)
class EventSubscription(_Value):
    """A complete request for a subscription.

    Attributes:
        subscriber_id: Name of the subscription, unique on its bus.
        capabilities: Gives the patterns if there are no ``topic_patterns``.
        event_filter: Which of the matching events it receives; ``None`` = all.
        correlation_filter: Which of the matching messages it receives, by their correlation; ``None`` = all.
        topic_patterns: Topics and patterns; an event is delivered once, however many of them match.
        enable_wildcards: Whether patterns may have wildcards; if not, one with a wildcard raises `PatternError`.
        include_control: Whether control messages are delivered too.
    """

    subscriber_id: str
    capabilities: SourceCaps = field(default_factory=SourceCaps)
    event_filter: EventFilter | None = None
    correlation_filter: CorrelationFilter | None = None
    topic_patterns: Sequence[str] | None = None
    enable_wildcards: bool = True
    include_control: bool = False

    def __post_init__(self) -> None:
        _texts(self, "subscriber_id")
        if not isinstance(self.capabilities, SourceCaps):
            raise wrong_type(place(self, "capabilities"), "SourceCaps", self.capabilities)
        if not isinstance(self.event_filter, EventFilter | None):
            raise wrong_type(place(self, "event_filter"), "EventFilter or None", self.event_filter)
        if not isinstance(self.correlation_filter, CorrelationFilter | None):
            raise wrong_type(place(self, "correlation_filter"), "CorrelationFilter or None", self.correlation_filter)
        if self.topic_patterns is not None:
            _text_tuples(self, "topic_patterns")
        flags(self, "enable_wildcards", "include_control")


@dataclass(frozen=True)
class Sender(_Value):
    """Who published a message, as reported by the kernel, whatever the message claims.

    Attributes:
        uid: User id; on Windows the last number of the SID.
        pid: Process id when it connected, which may be another process's by now; ``None`` if the kernel reports none.
        client_id: The connection's id, as in `ClientInfo.id`.
    """

    uid: int
    pid: int | None
    client_id: str

    def __post_init__(self) -> None:
        _integers(self, _U32, "uid")
        _optional_integers(self, _U32, "pid")
        _texts(self, "client_id")


@dataclass(frozen=True)
class EventBusStatistics(_Value):
    """The broker's totals since it started.

    Attributes:
        messages_published: Accepted publishes, whether or not anybody subscribed.
        messages_delivered: (message, subscription) pairs handed to the kernel or to an in-process queue.
        active_subscribers: Current subscriptions, plus peers of the original.
        active_topics: Distinct patterns now subscribed.
        uptime_seconds: Whole seconds since it started.
    """

    messages_published: int = 0
    messages_delivered: int = 0
    active_subscribers: int = 0
    active_topics: int = 0
    uptime_seconds: int = 0

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
    """The broker's totals since it started, with what it dropped and refused by reason.

    Attributes:
        messages_published: Accepted publishes, whether or not anybody subscribed.
        messages_delivered: (message, subscription) pairs handed to the kernel or to an in-process queue.
        active_subscribers: Current subscriptions, plus peers of the original.
        active_topics: Distinct patterns now subscribed.
        uptime_seconds: Whole seconds since it started.
        dropped: (message, subscription) pairs that matched and were not delivered, by reason.
        refused: Publishes, frames and connections that were not accepted, by reason.
        connections: Current connections, of every kind.
        queued_messages: Messages in all queues now.
        queued_bytes: Bytes in all queues now.
        refused_uids: Connects of users who may not connect, by uid in decimal; for the first 64 users (``refused``
            counts all).
        unfinished_bytes: Bytes reserved for frames that are incomplete or wait for full queues, not counting 32 KiB
            per connection.
    """

    messages_published: int = 0
    messages_delivered: int = 0
    active_subscribers: int = 0
    active_topics: int = 0
    uptime_seconds: int = 0
    dropped: Mapping[str, int] = field(default_factory=_no_counts)
    refused: Mapping[str, int] = field(default_factory=_no_counts)
    connections: int = 0
    queued_messages: int = 0
    queued_bytes: int = 0
    refused_uids: Mapping[str, int] = field(default_factory=_no_counts)
    unfinished_bytes: int = 0

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
    """One connection, as the broker sees it.

    Attributes:
        id: UUID of the connection, for `Broker.disconnect_client`; or of a bus in the broker's own process, which that
            does not disconnect.
        name: What the client calls itself; not to be trusted.
        uid: User id reported by the kernel; ``None`` if it reports none.
        pid: Process id reported by the kernel; ``None`` if it reports none.
        dialect: Encoding that the client uses.
        peer: ``local`` is a bus in the broker's own process, ``original`` a peer of the Rust original.
        subscriptions: Its current subscriptions.
        queued_messages: Messages queued for it now.
        queued_bytes: Bytes queued for it now.
        delivered: (message, subscription) pairs handed to the kernel or to its in-process queues.
        dropped: (message, subscription) pairs that matched and were not delivered, by reason.
        published: Accepted publishes, whether or not anybody subscribed.
    """

    id: str
    name: str
    uid: int | None
    pid: int | None
    dialect: str
    peer: Literal["native", "original", "local"]
    subscriptions: int = 0
    queued_messages: int = 0
    queued_bytes: int = 0
    delivered: int = 0
    dropped: Mapping[str, int] = field(default_factory=_no_counts)
    published: int = 0

    def __post_init__(self) -> None:
        _texts(self, "id", "name", "dialect")
        choice(place(self, "peer"), self.peer, "native", "original", "local")
        _optional_integers(self, _U32, "uid", "pid")
        _integers(self, _U64, "subscriptions", "queued_messages", "queued_bytes", "delivered", "published")
        _counters(self, "dropped")
