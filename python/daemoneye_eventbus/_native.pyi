import sys
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from dataclasses import dataclass
from datetime import datetime
from types import GenericAlias
from typing import Any, Final, Generic, Literal, Self, final, overload

from typing_extensions import TypeVar

from daemoneye_eventbus._bindings import Address as Address
from daemoneye_eventbus._bindings import BrokerCore as BrokerCore
from daemoneye_eventbus._bindings import BusCore, SubscriptionCore
from daemoneye_eventbus._bindings import Link as Link
from daemoneye_eventbus._bindings import LocalLink as LocalLink
from daemoneye_eventbus._bindings import LoopWaker as LoopWaker
from daemoneye_eventbus._bindings import Operation as Operation
from daemoneye_eventbus._bindings import PendingReply as PendingReply
from daemoneye_eventbus._bindings import PublishProgress as PublishProgress
from daemoneye_eventbus._bindings import Source as Source
from daemoneye_eventbus._bindings import TimestampCore as TimestampCore
from daemoneye_eventbus._bindings import Waiter as Waiter
from daemoneye_eventbus._timestamp import Timestamp
from daemoneye_eventbus._types import Sender

EventBus = BusCore
Subscription = SubscriptionCore

DEBUG_BUILD: Final[bool]
__version__: Final[str]
"""Version of the package."""

_T = TypeVar("_T")
_V = TypeVar("_V", str, int)
_V_co = TypeVar("_V_co", str, int, covariant=True, default=str)

@final
class FrozenMap(Mapping[str, _V_co]):
    """A read-only, hashable mapping with text as keys, made of a copy of ``mapping``.

    Its deep copy is a plain dict, so that ``dataclasses.asdict`` gives plain dicts throughout.
    """

    def __new__(cls, mapping: Mapping[str, _V_co] = {}, /) -> Self: ...
    def __len__(self) -> int: ...
    def __getitem__(self, key: str, /) -> _V_co: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...
    def __reversed__(self) -> Iterator[str]: ...
    @overload
    def get(self, key: str, /, default: None = None) -> _V_co | None:
        """The value of ``key``, or ``default``."""

    @overload
    def get(self, key: str, /, default: _V_co | _T) -> _V_co | _T: ...
    def keys(self) -> KeysView[str]:
        """Its keys, in the order in which they were given."""

    def values(self) -> ValuesView[_V_co]:
        """Its values, in the same order."""

    def items(self) -> ItemsView[str, _V_co]:
        """Its pairs, in the same order."""

    def __or__(self: FrozenMap[_V], other: Mapping[str, _V], /) -> FrozenMap[_V]:
        """A map with the entries of both; of a key that both have, the value on the right."""

    def __ror__(self: FrozenMap[_V], other: Mapping[str, _V], /) -> FrozenMap[_V]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, memo: object, /) -> dict[str, _V_co]: ...
    def __reduce__(self) -> tuple[type[Self], tuple[dict[str, _V_co]]]: ...
    def __class_getitem__(cls, item: Any) -> GenericAlias: ...

class _Record:
    def __setattr__(self, name: str, value: Any, /) -> None: ...
    def __delattr__(self, name: str, /) -> None: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, memo: object) -> Self: ...
    def __replace__(self, /, **changes: Any) -> Self: ...
    def __reduce__(self) -> tuple[Any, tuple[type[Self], tuple[Any, ...]]]: ...

@final
@dataclass(frozen=True, init=False)
class ProcessEvent(_Record):
    """A process as a collector saw it."""

    pid: int
    """Process id, 0 to 2**32 - 1."""
    name: str
    """Name as the system has it; use `os_text` to make it Unicode."""
    command_line: str | None
    """Command line as one text; ``None`` if unknown."""
    executable_path: str | None
    """Path of the program; ``None`` if unknown."""
    ppid: int | None
    """Process id of the parent; ``None`` if unknown."""
    start_time: Timestamp | None
    """When the process started; any aware ``datetime`` is accepted, a naive one raises ``ValueError``."""
    metadata: FrozenMap[str]
    """Anything else that the collector reports, as text keys and values."""
    def __new__(
        cls,
        pid: int,
        name: str,
        command_line: str | None = None,
        executable_path: str | None = None,
        ppid: int | None = None,
        start_time: datetime | None = None,
        metadata: Mapping[str, str] = {},
    ) -> Self: ...
    @property
    def start_time_ns(self) -> int | None:
        """Nanoseconds since 1970, also beyond year 9999, where the field itself raises ``OverflowError``."""

@final
@dataclass(frozen=True, init=False)
class NetworkEvent(_Record):
    """A network connection as a collector saw it."""

    connection_id: str
    """The collector's id of the connection."""
    source_address: str
    """Source address and port, in the collector's notation."""
    destination_address: str
    """Destination address and port, in the same notation."""
    protocol: str
    """Such as ``tcp``."""
    metadata: FrozenMap[str]
    """Anything else that the collector reports, as text keys and values."""
    def __new__(
        cls,
        connection_id: str,
        source_address: str,
        destination_address: str,
        protocol: str,
        metadata: Mapping[str, str] = {},
    ) -> Self: ...

@final
@dataclass(frozen=True, init=False)
class FilesystemEvent(_Record):
    """A change of a file as a collector saw it."""

    path: str
    """Path of the file; use `os_text` to make it Unicode."""
    event_type: str
    """What happened, such as ``write``."""
    size: int | None
    """Size of the file in bytes, 0 to 2**64 - 1; ``None`` if unknown."""
    metadata: FrozenMap[str]
    """Anything else that the collector reports, as text keys and values."""
    def __new__(
        cls,
        path: str,
        event_type: str,
        size: int | None = None,
        metadata: Mapping[str, str] = {},
    ) -> Self: ...

@final
@dataclass(frozen=True, init=False)
class PerformanceEvent(_Record):
    """One measured value."""

    metric_name: str
    """What was measured, such as ``cpu``."""
    value: float
    """The measured value, NaN and infinities included."""
    unit: str
    """Unit of `value`, such as ``ratio``."""
    metadata: FrozenMap[str]
    """Anything else that the collector reports, as text keys and values."""
    def __new__(
        cls,
        metric_name: str,
        value: float,
        unit: str,
        metadata: Mapping[str, str] = {},
    ) -> Self: ...

@final
@dataclass(frozen=True, init=False)
class TriggerRequest(_Record):
    """A request to a collector to examine something."""

    request_id: str
    """The requester's id of the request."""
    collector_type: str
    """Which kind of collector should act."""
    priority: int
    """0 to 255; higher is more urgent."""
    payload: bytes
    """Bytes whose meaning requester and collector agree on."""
    metadata: FrozenMap[str]
    """Anything else that the requester states, as text keys and values."""
    def __new__(
        cls,
        request_id: str,
        collector_type: str,
        priority: int = 0,
        payload: bytes = b"",
        metadata: Mapping[str, str] = {},
    ) -> Self: ...

@final
@dataclass(frozen=True, init=False)
class CorrelationMetadata(_Record):
    """Relates messages to the work that caused them, across processes. `CorrelationMetadata("id")` is a new root."""

    correlation_id: str
    """Id of this piece of work."""
    parent_correlation_id: str | None
    """Id of the work that caused it; ``None`` for a root."""
    root_correlation_id: str
    """Id of the work that everything began with; its own id for a root, which is the default."""
    sequence_number: int
    """Position among its siblings, 0 to 2**64 - 1."""
    workflow_stage: str | None
    """Stage of its workflow, or ``None``."""
    correlation_tags: FrozenMap[str]
    """Anything else, as text keys and values."""
    created_at: Timestamp
    """When it was created, by default now; any aware ``datetime`` is accepted."""
    def __new__(
        cls,
        correlation_id: str,
        parent_correlation_id: str | None = None,
        root_correlation_id: str | None = None,
        sequence_number: int = 0,
        workflow_stage: str | None = None,
        correlation_tags: Mapping[str, str] = {},
        created_at: datetime | None = None,
    ) -> Self: ...
    @property
    def created_at_ns(self) -> int:
        """Nanoseconds since 1970, also beyond year 9999, where the field itself raises ``OverflowError``."""

    def create_child(self, correlation_id: str) -> CorrelationMetadata:
        """Metadata of work that this work caused: same root, stage and tags, this id as parent, sequence 0, new time.

        ``correlation_id`` is the id of the new work.
        """

    def with_stage(self, stage: str) -> CorrelationMetadata:
        """A copy whose workflow stage is ``stage``."""

    def with_tag(self, key: str, value: str) -> CorrelationMetadata:
        """A copy with ``value`` for the tag ``key``, whether it had one or not."""

    def matches_pattern(self, pattern: str) -> bool:
        """Whether the id, the parent's or the root's matches ``pattern``; `*` stands for any run of characters."""

_E_co = TypeVar(
    "_E_co",
    bound=ProcessEvent | NetworkEvent | FilesystemEvent | PerformanceEvent | TriggerRequest,
    covariant=True,
    default=ProcessEvent | NetworkEvent | FilesystemEvent | PerformanceEvent | TriggerRequest,
)

@final
@dataclass(frozen=True, init=False)
class BusEvent(_Record, Generic[_E_co]):
    """An event as a subscription delivers it."""

    event_id: str
    """UUID of the message."""
    event: _E_co
    """What was published."""
    correlation_metadata: CorrelationMetadata
    """The correlation that the publisher passed."""
    bus_timestamp: Timestamp
    """When it was published, by the publisher's clock."""
    matched_pattern: str
    """The subscription's pattern that matched the topic: the exact one if there is one, else the most specific."""
    subscriber_id: str
    """The subscription that received it."""
    topic: str
    """The topic on which it was published."""
    sequence: int
    """Number of the message, counted by its publisher."""
    def __new__(
        cls,
        event_id: str,
        event: _E_co,
        correlation_metadata: CorrelationMetadata,
        bus_timestamp: datetime,
        matched_pattern: str,
        subscriber_id: str,
        topic: str = "",
        sequence: int = 0,
    ) -> Self: ...
    @property
    def bus_timestamp_ns(self) -> int:
        """Nanoseconds since 1970, also beyond year 9999, where the field itself raises ``OverflowError``."""

    @property
    def correlation_id(self) -> str:
        """The id in `correlation_metadata`, without building the rest of it."""

    @property
    def sender(self) -> Sender | None:
        """Who published, as reported by the kernel; ``None`` outside the broker's own process and after pickling."""

    @property
    def dropped_before(self) -> int:
        """How many matching events were lost right before this one. No dataclass field, and not compared by `==`."""
    def __class_getitem__(cls, item: Any) -> GenericAlias: ...

@final
@dataclass(frozen=True, init=False)
class ControlMessage(_Record):
    """Raw bytes on a control or health topic."""

    topic: str
    """The topic on which it was published."""
    payload: bytes
    """The bytes as they were published."""
    correlation_metadata: CorrelationMetadata
    """The correlation that the publisher passed."""
    timestamp: Timestamp
    """When it was published, by the publisher's clock."""
    sequence: int
    """Number of the message, counted by its publisher."""
    message_id: str
    """UUID of the message."""
    def __new__(
        cls,
        topic: str,
        payload: bytes,
        correlation_metadata: CorrelationMetadata,
        timestamp: datetime,
        sequence: int,
        message_id: str,
    ) -> Self: ...
    @property
    def timestamp_ns(self) -> int:
        """Nanoseconds since 1970, also beyond year 9999, where the field itself raises ``OverflowError``."""

    @property
    def correlation_id(self) -> str:
        """The id in `correlation_metadata`, without building the rest of it."""

    @property
    def sender(self) -> Sender | None:
        """Who published, as reported by the kernel; ``None`` outside the broker's own process and after pickling."""

    @property
    def dropped_before(self) -> int:
        """How many matching messages were lost right before this one. No dataclass field, and not compared by `==`."""

@final
@dataclass(frozen=True, init=False)
class Message(_Record):
    """The envelope as it is encoded."""

    id: str
    """UUID of the message."""
    topic: str
    """The topic on which it is published."""
    correlation_metadata: CorrelationMetadata
    """Correlation."""
    payload: bytes
    """The event, encoded as ``CollectionEvent`` in the same dialect; or bytes, for Control."""
    sequence: int
    """Number of the message, counted by its publisher."""
    timestamp: Timestamp
    """When it was published."""
    message_type: Literal["Event", "Control", "Heartbeat", "Shutdown"]
    """What `payload` is: Event or Control; clients send no others."""
    def __new__(
        cls,
        id: str,
        topic: str,
        correlation_metadata: CorrelationMetadata,
        payload: bytes,
        sequence: int,
        timestamp: datetime,
        message_type: Literal["Event", "Control", "Heartbeat", "Shutdown"],
    ) -> Self: ...
    @property
    def timestamp_ns(self) -> int:
        """Nanoseconds since 1970, also beyond year 9999, where the field itself raises ``OverflowError``."""

@final
class TopicPattern:
    """A parsed pattern: `*` and `+` match one segment, a final `*` one or more, a final `#` zero or more.

    Raises `PatternError` if the text ``pattern`` is not valid. How many segments it may have, the broker decides.
    """

    def __new__(cls, pattern: str) -> Self: ...
    @property
    def pattern(self) -> str:
        """The text of the pattern."""

    @property
    def is_exact(self) -> bool:
        """Whether the pattern has no wildcard."""

    def matches(self, topic: str) -> bool:
        """Whether the pattern matches ``topic``, of any depth; `TopicError` if that is not a valid topic."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, memo: object) -> Self: ...
    def __reduce__(self) -> tuple[type[Self], tuple[str]]: ...

def _restore(class_: type[Any], values: tuple[Any, ...], /) -> Any: ...
def _dialects() -> list[str]: ...
def _wire_encode(kind: str, value: object, dialect: str, /) -> bytes: ...
def _wire_decode(kind: str, data: bytes, dialect: str, /) -> Any: ...
def _pattern_refusal(pattern: str, max_depth: int, /) -> str | None: ...
def _original_pattern_refusal(pattern: str, max_depth: int, /) -> str | None: ...
def _wire_sniff(body: bytes, /) -> str | None: ...
def _token_proof(token: bytes, client_nonce: str, broker_nonce: str, /) -> str: ...
def _token_proved(token: bytes, client_nonce: str, broker_nonce: str, proof: str, /) -> bool: ...
def _topic_names() -> list[tuple[str, str]]: ...

if sys.platform != "win32":
    def _peer_of(descriptor: int, /) -> tuple[int | None, int]: ...

def after_fork_in_child() -> None: ...
def begin_exit() -> None: ...
def _set_log_level(level: int) -> None: ...
def _wake_for_logs(waker: LoopWaker, token: int) -> None: ...
def _take_logs() -> tuple[list[tuple[int, str, str, dict[str, Any], float]], int]: ...
def shut_down_clients(timeout: float) -> None: ...
