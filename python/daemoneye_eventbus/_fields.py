"""The native value classes with the dataclass protocol: ``__dataclass_fields__``, taken from private dataclasses.

``dataclasses.fields``, ``asdict``, ``astuple`` and ``is_dataclass`` look for nothing else; ``typing.get_type_hints``
looks for ``__annotations__``. Modules that hand out these classes or their objects import them from here.
"""

from __future__ import annotations

from collections.abc import Mapping  # resolving the fields' types looks for it here
from dataclasses import dataclass, field
from typing import Any, Final, cast, get_type_hints

from daemoneye_eventbus import _native
from daemoneye_eventbus._native import (
    BusEvent,
    ControlMessage,
    CorrelationMetadata,
    FilesystemEvent,
    Message,
    NetworkEvent,
    PerformanceEvent,
    ProcessEvent,
    TriggerRequest,
)
from daemoneye_eventbus._timestamp import Timestamp
from daemoneye_eventbus._types import CollectionEvent  # the same

__all__ = [
    "BusEvent",
    "ControlMessage",
    "CorrelationMetadata",
    "FilesystemEvent",
    "Message",
    "NetworkEvent",
    "PerformanceEvent",
    "ProcessEvent",
    "TriggerRequest",
]


def _no_texts() -> Mapping[str, str]:
    return _native.FrozenMap()


def _own_id() -> str:
    # Only the object knows it: this is what its constructor takes for it.
    return cast("str", None)


@dataclass(frozen=True, init=False)
class _ProcessEvent:
    pid: int
    name: str
    command_line: str | None = None
    executable_path: str | None = None
    ppid: int | None = None
    start_time: Timestamp | None = None
    metadata: Mapping[str, str] = field(default_factory=_no_texts)


@dataclass(frozen=True, init=False)
class _NetworkEvent:
    connection_id: str
    source_address: str
    destination_address: str
    protocol: str
    metadata: Mapping[str, str] = field(default_factory=_no_texts)


@dataclass(frozen=True, init=False)
class _FilesystemEvent:
    path: str
    event_type: str
    size: int | None = None
    metadata: Mapping[str, str] = field(default_factory=_no_texts)


@dataclass(frozen=True, init=False)
class _PerformanceEvent:
    metric_name: str
    value: float
    unit: str
    metadata: Mapping[str, str] = field(default_factory=_no_texts)


@dataclass(frozen=True, init=False)
class _TriggerRequest:
    request_id: str
    collector_type: str
    priority: int = 0
    payload: bytes = b""
    metadata: Mapping[str, str] = field(default_factory=_no_texts)


@dataclass(frozen=True, init=False)
class _CorrelationMetadata:
    correlation_id: str
    parent_correlation_id: str | None = None
    root_correlation_id: str = field(default_factory=_own_id)
    sequence_number: int = 0
    workflow_stage: str | None = None
    correlation_tags: Mapping[str, str] = field(default_factory=_no_texts)
    created_at: Timestamp = field(default_factory=Timestamp.now)


@dataclass(frozen=True, init=False)
class _BusEvent:
    event_id: str
    event: CollectionEvent
    correlation_metadata: CorrelationMetadata
    bus_timestamp: Timestamp
    matched_pattern: str
    subscriber_id: str
    topic: str = ""
    sequence: int = 0


@dataclass(frozen=True, init=False)
class _ControlMessage:
    topic: str
    payload: bytes
    correlation_metadata: CorrelationMetadata
    timestamp: Timestamp
    sequence: int
    message_id: str


@dataclass(frozen=True, init=False)
class _Message:
    id: str
    topic: str
    correlation_metadata: CorrelationMetadata
    payload: bytes
    sequence: int
    timestamp: Timestamp
    message_type: str


_TWINS: Final[dict[type[Any], type]] = {
    ProcessEvent: _ProcessEvent,
    NetworkEvent: _NetworkEvent,
    FilesystemEvent: _FilesystemEvent,
    PerformanceEvent: _PerformanceEvent,
    TriggerRequest: _TriggerRequest,
    CorrelationMetadata: _CorrelationMetadata,
    BusEvent: _BusEvent,
    ControlMessage: _ControlMessage,
    Message: _Message,
}
for _class, _twin in _TWINS.items():
    for _name in ("__dataclass_fields__", "__dataclass_params__"):
        setattr(_class, _name, getattr(_twin, _name))
    # Resolved, since their names are known here and not where the class says that it is from.
    _class.__annotations__ = get_type_hints(_twin)
