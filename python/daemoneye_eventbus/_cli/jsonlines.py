"""A message as one line of JSON, and back.

What `write` made, `read` gives back as the same topic, event and correlation: times are nanoseconds, bytes are base64,
and the numbers that JSON does not have are the strings ``NaN``, ``Infinity`` and ``-Infinity``. The lines are ASCII.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Final, cast

from daemoneye_eventbus import CollectionEvent, ControlMessage, CorrelationMetadata, Timestamp
from daemoneye_eventbus._cli import strict_json
from daemoneye_eventbus._cli.kinds import CONTROL, KINDS, Received, fields_of, kind_of

__all__ = ["LineError", "Parsed", "plain", "read", "write"]

_TIMES: Final = {"start_time": "start_time_ns", "created_at": "created_at_ns"}
_BYTES: Final = {"payload": "payload_base64"}
_JSON_NAMES: Final = {**_TIMES, **_BYTES}
_FIELD_NAMES: Final = {said: name for name, said in _JSON_NAMES.items()}
_KNOWN: Final = frozenset(
    {"topic", "type", "fields", "correlation", "timestamp_ns", "id", "sequence", "matched_pattern", "dropped_before"}
)


class LineError(Exception):
    """What is wrong with a line, beginning with the field that it is wrong in."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """One message to publish. ``message`` is an event, or the payload of a control message."""

    message: CollectionEvent | bytes
    topic: str | None
    correlation: str | CorrelationMetadata | None


def write(received: Received) -> str:
    """One line, without its end."""
    if isinstance(received, ControlMessage):
        what: dict[str, Any] = {"payload_base64": _base64(received.payload)}
        time, identity, pattern = received.timestamp_ns, received.message_id, None
    else:
        what = plain(received.event)
        time, identity, pattern = received.bus_timestamp_ns, received.event_id, received.matched_pattern
    line = {
        "topic": received.topic,
        "type": kind_of(received),
        "fields": what,
        "correlation": plain(received.correlation_metadata),
        "timestamp_ns": time,
        "id": identity,
        "sequence": received.sequence,
        "matched_pattern": pattern,
        "dropped_before": received.dropped_before,
    }
    return json.dumps(line, allow_nan=False, separators=(",", ":"))


def plain(value: Any) -> dict[str, Any]:
    """The fields of an event or of correlation metadata."""
    said: dict[str, Any] = {}
    for field in fields(value):
        name = field.name
        if name in _TIMES:
            # The property, since a time may lie beyond what a datetime can say.
            said[_TIMES[name]] = getattr(value, _TIMES[name])
            continue
        item = getattr(value, name)
        if isinstance(item, bytes):
            said[_BYTES[name]] = _base64(item)
        elif isinstance(item, float) and not math.isfinite(item):
            said[name] = "NaN" if math.isnan(item) else "Infinity" if item > 0 else "-Infinity"
        else:
            said[name] = dict(cast("Mapping[str, str]", item)) if isinstance(item, Mapping) else item
    return said


def _base64(payload: bytes) -> str:
    return base64.b64encode(payload).decode("ascii")


def read(line: bytes) -> Parsed:
    """What a line says; `LineError` for a line that does not."""
    try:
        given: Any = strict_json.loads(line, unique=True)
    except UnicodeDecodeError as error:
        raise LineError(f"not UTF-8: {error.reason} at byte {error.start}") from None
    except ValueError as error:
        raise LineError(f"not JSON: {error}") from None
    if not isinstance(given, dict):
        raise LineError(f"not a JSON object but {_type(given)}")
    said = cast("dict[str, Any]", given)
    for name in said:
        if name not in _KNOWN:
            raise LineError(f"{name}: no such field; the fields are {', '.join(sorted(_KNOWN))}")
    topic = said.get("topic")
    if topic is not None and not isinstance(topic, str):
        raise LineError(f"topic: expected a string, got {_type(topic)}")
    kind = said.get("type")
    if not isinstance(kind, str) or (kind not in KINDS and kind != CONTROL):
        raise LineError(f"type: must be one of {', '.join([*KINDS, CONTROL])}, got {json.dumps(kind)[:80]}")
    what = said.get("fields")
    if not isinstance(what, dict):
        raise LineError(f"fields: expected an object, got {_type(what)}")
    what = cast("dict[str, Any]", what)
    correlation = _correlation(said.get("correlation"))
    if kind == CONTROL:
        if topic is None:
            raise LineError("topic: a control message has no default topic")
        return Parsed(_payload(what), topic, correlation)
    event: CollectionEvent = _made("fields", KINDS[kind], what)
    return Parsed(event, topic, correlation)


def _payload(what: dict[str, Any]) -> bytes:
    if set(what) != {"payload_base64"}:
        raise LineError("fields: a control message has payload_base64 and nothing else")
    return _bytes("fields.payload_base64", what["payload_base64"])


def _correlation(said: Any) -> str | CorrelationMetadata | None:
    if said is None or isinstance(said, str):
        return said
    if not isinstance(said, dict):
        raise LineError(f"correlation: expected a string or an object, got {_type(said)}")
    made: CorrelationMetadata = _made("correlation", CorrelationMetadata, cast("dict[str, Any]", said))
    return made


def _made(where: str, kind: Any, said: dict[str, Any]) -> Any:
    known = fields_of(kind)
    values: dict[str, Any] = {}
    for name, item in said.items():
        field = _FIELD_NAMES.get(name, name)
        if field not in known or name in _JSON_NAMES:
            names = ", ".join(_JSON_NAMES.get(one, one) for one in known)
            raise LineError(f"{where}.{name}: no such field; the fields are {names}")
        values[field] = _value(f"{where}.{name}", field, item)
    for field, described in known.items():
        if field not in values and described.default is MISSING and described.default_factory is MISSING:
            raise LineError(f"{where}.{_JSON_NAMES.get(field, field)}: missing, and it has no default")
    try:
        return kind(**values)
    except (TypeError, ValueError, OverflowError) as error:
        # The class names its field; whoever wrote the line knows that by its place in it, and its name there.
        text = str(error).removeprefix(f"{kind.__name__}.")
        field, colon, rest = text.partition(":")
        named = f"{where}.{_JSON_NAMES.get(field, field)}{colon}{rest}"
        raise LineError(named if text != str(error) else f"{where}: {text}") from None


def _value(where: str, field: str, item: Any) -> Any:
    if item is None:
        return None
    if field in _TIMES:
        if not isinstance(item, int) or isinstance(item, bool):
            raise LineError(f"{where}: expected nanoseconds since 1970 as an integer, got {_type(item)}")
        try:
            return Timestamp.from_ns(item)
        except OverflowError:
            raise LineError(f"{where}: beyond the years 1 to 9999") from None
    if field in _BYTES:
        return _bytes(where, item)
    if field == "value" and item in ("NaN", "Infinity", "-Infinity"):
        return float(item)
    return item


def _bytes(where: str, item: Any) -> bytes:
    if not isinstance(item, str):
        raise LineError(f"{where}: expected base64 as a string, got {_type(item)}")
    try:
        return base64.b64decode(item, validate=True)
    except (binascii.Error, ValueError) as error:
        raise LineError(f"{where}: not base64: {error}") from None


def _type(value: object) -> str:
    if value is None:
        return "nothing"
    names: dict[type, str] = {bool: "a boolean", str: "a string", list: "an array", dict: "an object"}
    return names.get(value.__class__, "a number")
