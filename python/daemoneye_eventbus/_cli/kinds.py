"""The kinds of messages by the words that filters use, and their fields as the command line and JSON write them."""

from __future__ import annotations

import dataclasses
from typing import Any, Final, TypeAlias

from daemoneye_eventbus import (
    BusEvent,
    CollectionEvent,
    ControlMessage,
    FilesystemEvent,
    NetworkEvent,
    PerformanceEvent,
    ProcessEvent,
    TriggerRequest,
)

__all__ = ["CONTROL", "KINDS", "Kind", "Received", "fields_of", "kind_of", "name_of"]

Kind: TypeAlias = (
    type[ProcessEvent] | type[NetworkEvent] | type[FilesystemEvent] | type[PerformanceEvent] | type[TriggerRequest]
)
Received: TypeAlias = BusEvent[CollectionEvent] | ControlMessage

KINDS: Final[dict[str, Kind]] = {
    "process": ProcessEvent,
    "network": NetworkEvent,
    "filesystem": FilesystemEvent,
    "performance": PerformanceEvent,
    "trigger": TriggerRequest,
}
CONTROL: Final = "control"
_NAMES: Final = {kind: name for name, kind in KINDS.items()}


def kind_of(received: Received) -> str:
    """The word for what was received."""
    return CONTROL if isinstance(received, ControlMessage) else _NAMES[type(received.event)]


def name_of(kind: Kind) -> str:
    """The word for a kind."""
    return _NAMES[kind]


def fields_of(kind: Kind) -> dict[str, dataclasses.Field[Any]]:
    """The fields of an event, in order."""
    return {field.name: field for field in dataclasses.fields(kind)}
