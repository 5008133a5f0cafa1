"""What the body of a frame says, as JSON, whoever wrote it: messages of any dialect, control texts, bare payloads."""

from __future__ import annotations

import base64
from typing import Any, Final

from daemoneye_eventbus import CollectionEvent, CorrelationMetadata, TriggerRequest, _native, topics, wire
from daemoneye_eventbus._cli import jsonlines
from daemoneye_eventbus._cli.kinds import name_of
from daemoneye_eventbus._cli.raw import MESSAGE, text_parts
from daemoneye_eventbus.errors import DecodeError

__all__ = ["read"]

_TEXT: Final = range(ord("A"), ord("Z") + 1)
_AUTHENTICATION: Final = b"0123456789abcdef"
_KINDS: Final = range(5)
_OLDEST: Final = "bincode-v0"


def read(body: bytes, at: int, dialect: str | None) -> dict[str, Any]:
    """What it is and says; ``error`` and ``error_offset`` where it cannot be read. ``at``: where the body begins."""
    found: dict[str, Any] = {"size": len(body)}
    if not body:
        return found | {"kind": "empty", "error": "empty frame", "error_offset": at}
    first = body[0]
    if first == MESSAGE:
        return found | {"kind": "message"} | _message(body, at, dialect)
    if first in _TEXT:
        return found | {"kind": "text"} | _text(body, at)
    if first in _AUTHENTICATION:
        return found | {"kind": "authentication", "text": body.decode("ascii", "backslashreplace")}
    return found | _payload_alone(body, at, dialect)


def _text(body: bytes, at: int) -> dict[str, Any]:
    try:
        verb, said = text_parts(body)
    except UnicodeDecodeError as error:
        return {"error": f"not UTF-8: {error.reason}", "error_offset": at + error.start}
    except ValueError as error:
        # Of JSON, which knows its own position, behind the verb and a space.
        behind = len(body.partition(b" ")[0]) + 1
        return {"error": str(error), "error_offset": at + behind + getattr(error, "pos", 0)}
    return {"verb": verb} if said is None else {"verb": verb, "said": said}


def _message(body: bytes, at: int, dialect: str | None) -> dict[str, Any]:
    spoken = dialect or _native._wire_sniff(body)
    if spoken is not None:
        return _message_in(body, at, spoken)
    readings = {one: _message_in(body, at, one) for one in wire.DIALECTS if one != _OLDEST}
    whole = {one: reading for one, reading in readings.items() if "error" not in reading}
    if len(whole) == 1:
        # Whole in one alone, with times that nobody has now.
        return next(iter(whole.values())) | {"times": "implausible"}
    if whole:
        return {"dialect": None, "ambiguous": whole}
    oldest = _message_in(body, at, _OLDEST)
    if "error" not in oldest:
        return oldest
    # The one that came furthest is most likely meant.
    best = max(readings.values(), key=lambda reading: reading["error_offset"])
    others = "; ".join(f"{one}: {reading['error']}" for one, reading in readings.items())
    return {"dialect": None, "error": f"no message in any dialect ({others})", "error_offset": best["error_offset"]}


def _message_in(body: bytes, at: int, dialect: str) -> dict[str, Any]:
    found: dict[str, Any] = {"dialect": dialect}
    try:
        message = wire.decode(wire.Message, body, dialect)
    except DecodeError as error:
        return found | _error(error, at)
    correlation: CorrelationMetadata = message.correlation_metadata
    found |= {
        "id": message.id,
        "topic": message.topic,
        "message_type": message.message_type,
        "sequence": message.sequence,
        "timestamp_ns": message.timestamp_ns,
        "correlation": jsonlines.plain(correlation),
    }
    kind: Any = None
    if message.message_type == "Event":
        kind = CollectionEvent
    elif message.message_type == "Control" and message.topic == topics.TRIGGER_REQUEST:
        kind = TriggerRequest
    if kind is not None:
        try:
            return found | _event(wire.decode(kind, message.payload, dialect))
        except DecodeError as error:
            if kind is CollectionEvent:
                # The payload lies whole in the body; where, only its writer would know if it is there twice.
                begins = at + max(body.rfind(message.payload), 0)
                return found | _base64(message.payload) | _error(error, begins, "payload: ")
    return found | _base64(message.payload)


def _payload_alone(body: bytes, at: int, dialect: str | None) -> dict[str, Any]:
    """The crate's own broker can send payloads without an envelope."""
    if body[0] in _KINDS:
        for one in [dialect] if dialect else wire.DIALECTS:
            try:
                return {"kind": "payload", "dialect": one} | _event(wire.decode(CollectionEvent, body, one))
            except DecodeError:
                continue
    return {"kind": "unknown", "error": f"unknown frame kind {body[0]:#04x}", "error_offset": at}


def _event(event: Any) -> dict[str, Any]:
    return {"type": name_of(event.__class__), "fields": jsonlines.plain(event)}


def _base64(payload: bytes) -> dict[str, Any]:
    return {"payload_base64": base64.b64encode(payload).decode("ascii")}


def _error(error: DecodeError, at: int, where: str = "") -> dict[str, Any]:
    return {"error": f"{where}{error.reason or error}", "error_offset": at + (error.offset or 0)}
