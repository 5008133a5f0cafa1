"""Encodes values to bytes and decodes them, for tests, tools and forensics.

The bytes are those of the bus itself. These types have an encoding: the five events, their union ``CollectionEvent``,
``CorrelationMetadata``, ``EventSubscription``, ``SourceCaps``, ``EventFilter``, ``CorrelationFilter``,
``EventBusStatistics``, ``BusEvent`` and ``Message``, the envelope. No others have one: a ``ControlMessage`` travels as
a ``Message``. ``BusEvent`` is encoded as the original would write it, without topic and sequence, which decoding sets
to ``""`` and 0.

Connections use ``bincode`` (the default) or ``postcard`` (the original's current format). While the original used
bincode, its `EventSubscription` had no ``include_control``: that is decoded as False, and encoding True raises a
``ValueError``. ``bincode-v0`` is the original's first generation, for old captures. It had only a correlation id,
two lists of `CorrelationFilter`, and no ``include_control``. Decoding sets what it lacks to empty, the root to the
correlation id itself, and ``created_at`` to 1970. Encoding a value that uses one of the missing fields raises a
``ValueError`` that names it; only ``created_at`` is omitted silently.
"""

from __future__ import annotations

from types import UnionType
from typing import Any, Final, TypeVar, overload

from daemoneye_eventbus._checks import choice, wrong_type
from daemoneye_eventbus._fields import (
    BusEvent,
    CorrelationMetadata,
    FilesystemEvent,
    Message,
    NetworkEvent,
    PerformanceEvent,
    ProcessEvent,
    TriggerRequest,
)
from daemoneye_eventbus._native import _dialects, _wire_decode, _wire_encode
from daemoneye_eventbus._types import (
    CollectionEvent,
    CorrelationFilter,
    EventBusStatistics,
    EventFilter,
    EventSubscription,
    SourceCaps,
)

__all__ = ["DIALECTS", "Message", "decode", "encode"]

_T = TypeVar("_T")

DIALECTS: Final[tuple[str, ...]] = tuple(_dialects())
"""The names of the dialects, the default first."""

_CLASSES: Final[tuple[type[Any], ...]] = (
    ProcessEvent,
    NetworkEvent,
    FilesystemEvent,
    PerformanceEvent,
    TriggerRequest,
    CorrelationMetadata,
    EventSubscription,
    SourceCaps,
    EventFilter,
    CorrelationFilter,
    EventBusStatistics,
    BusEvent,
    Message,
)
_NAMES: Final[dict[object, str]] = {cls: cls.__name__ for cls in _CLASSES}
_NAMES[CollectionEvent] = "CollectionEvent"


def encode(value: object, dialect: str = "bincode", *, type: type[Any] | UnionType | None = None) -> bytes:
    """Encode ``value`` in ``dialect``, one of `DIALECTS`.

    ``type=CollectionEvent`` encodes one of the five events as a variant of the enum, its index first, as in a message's
    payload; without it, the plain struct is encoded. ``TypeError`` for a type that has no encoding, ``ValueError`` for
    an unknown dialect.
    """
    kind = _kind("value", value.__class__) if type is None else _kind("type", type)
    if type is not None and not isinstance(value, type):
        raise wrong_type("value", kind, value)
    choice("dialect", dialect, *DIALECTS)
    return _wire_encode(kind, value, dialect)


@overload
def decode(type: type[_T], data: bytes, dialect: str = "bincode") -> _T: ...
@overload
def decode(type: UnionType, data: bytes, dialect: str = "bincode") -> CollectionEvent: ...
def decode(type: type[Any] | UnionType, data: bytes, dialect: str = "bincode") -> Any:
    """Decode all of ``data``, encoded in ``dialect``, as a ``type``.

    Raises `DecodeError` if the bytes are anything else, trailing bytes included. A ``BusEvent`` comes back with the
    topic ``""`` and the sequence 0, since its encoding has neither.
    """
    choice("dialect", dialect, *DIALECTS)
    return _wire_decode(_kind("type", type), data, dialect)


def _kind(where: str, given: Any) -> str:
    """The name of a type, or of the class of a value."""
    expected = "one of the types in daemoneye_eventbus.wire"
    if not isinstance(given, type | UnionType):
        raise wrong_type(where, expected, given)
    name = _NAMES.get(given)
    if name is None:
        raise TypeError(f"{where}: expected {expected}, got {getattr(given, '__name__', given)}")
    return name
