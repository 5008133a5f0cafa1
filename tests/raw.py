"""The wire, spoken by hand: frames, control verbs, and a second bincode codec.

Written from the protocol description and the layout tables alone and shares nothing with the
library, so an error made twice the same way inside the library still shows here.
"""

from __future__ import annotations

import json
import socket
import struct
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

EVENT, CONTROL, HEARTBEAT, SHUTDOWN = range(4)


# --- encoding -------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    if value < 251:
        return bytes([value])
    if value < 1 << 16:
        return b"\xfb" + struct.pack("<H", value)
    if value < 1 << 32:
        return b"\xfc" + struct.pack("<I", value)
    return b"\xfd" + struct.pack("<Q", value)


def data(value: bytes) -> bytes:
    return varint(len(value)) + value


def text(value: str) -> bytes:
    return data(value.encode())


def option(value: Any, encode: Any) -> bytes:
    return b"\0" if value is None else b"\1" + encode(value)


def mapping(value: dict[str, str]) -> bytes:
    return varint(len(value)) + b"".join(text(k) + text(v) for k, v in value.items())


def moment(ns: int) -> bytes:
    seconds, nanos = divmod(ns, 1_000_000_000)
    return varint(seconds) + varint(nanos)


def process_event(pid: int, name: str = "sh", metadata: dict[str, str] | None = None) -> bytes:
    """A CollectionEvent of a process without any of the optional fields."""
    return b"\0" + varint(pid) + text(name) + b"\0\0\0\0" + mapping(metadata or {})


def trigger_request(request_id: str, kind: str, priority: int, payload: bytes = b"") -> bytes:
    return b"\4" + text(request_id) + text(kind) + bytes([priority]) + data(payload) + b"\0"


@dataclass
class Message:
    topic: str
    payload: bytes
    sequence: int = 0
    type: int = EVENT
    correlation: str = "c"
    parent: str | None = None
    root: str | None = None
    stage: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    correlation_sequence: int = 0
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    timestamp_ns: int = field(default_factory=time.time_ns)
    created_ns: int = field(default_factory=time.time_ns)

    def encode(self) -> bytes:
        return b"".join(
            [
                data(self.id.bytes),
                text(self.topic),
                text(self.correlation),
                option(self.parent, text),
                text(self.correlation if self.root is None else self.root),
                varint(self.correlation_sequence),
                option(self.stage, text),
                mapping(self.tags),
                moment(self.created_ns),
                data(self.payload),
                varint(self.sequence),
                moment(self.timestamp_ns),
                varint(self.type),
            ]
        )


def process_message(pid: int, topic: str = "events.process.new", sequence: int = 0) -> bytes:
    return Message(topic, process_event(pid), sequence).encode()


# --- decoding -------------------------------------------------------------------------------


class Cursor:
    def __init__(self, raw: bytes) -> None:
        self.raw, self.at = raw, 0

    def take(self, count: int) -> bytes:
        assert self.at + count <= len(self.raw), "frame ends inside a value"
        self.at += count
        return self.raw[self.at - count : self.at]

    def varint(self) -> int:
        tag = self.take(1)[0]
        width = {251: 2, 252: 4, 253: 8}.get(tag)
        assert tag < 254, f"integer tag {tag}"
        return tag if width is None else int.from_bytes(self.take(width), "little")

    def data(self) -> bytes:
        return self.take(self.varint())

    def text(self) -> str:
        return self.data().decode()

    def option(self, read: Any) -> Any:
        return read() if self.take(1) == b"\1" else None

    def mapping(self) -> dict[str, str]:
        return {self.text(): self.text() for _ in range(self.varint())}

    def moment(self) -> int:
        return self.varint() * 1_000_000_000 + self.varint()

    def end(self) -> None:
        assert self.at == len(self.raw), f"{len(self.raw) - self.at} bytes left over"


def decode_message(body: bytes) -> Message:
    c = Cursor(body)
    identity, topic, correlation = uuid.UUID(bytes=c.data()), c.text(), c.text()
    parent, root, correlation_sequence = c.option(c.text), c.text(), c.varint()
    stage, tags, created = c.option(c.text), c.mapping(), c.moment()
    payload, sequence, timestamp, kind = c.data(), c.varint(), c.moment(), c.varint()
    c.end()
    return Message(
        topic, payload, sequence, kind, correlation, parent, root, stage, tags,
        correlation_sequence, identity, timestamp, created,
    )  # fmt: skip


@dataclass
class Process:
    pid: int
    name: str
    command_line: str | None
    executable_path: str | None
    ppid: int | None
    start_time_ns: int | None
    metadata: dict[str, str]


def decode_process(payload: bytes) -> Process:
    c = Cursor(payload)
    assert c.varint() == 0, "not a process event"
    event = Process(
        c.varint(), c.text(), c.option(c.text), c.option(c.text),
        c.option(c.varint), c.option(c.moment), c.mapping(),
    )  # fmt: skip
    c.end()
    return event


def parse_text(body: bytes) -> tuple[str, dict[str, Any]]:
    """The verb of a control frame and its fields."""
    assert 0x41 <= body[0] <= 0x5A, f"not a control frame: {body[:40]!r}"
    verb, _, rest = body.decode().partition(" ")
    return verb, json.loads(rest) if rest else {}


def framed(*bodies: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(body)) + body for body in bodies)


# --- the connection -------------------------------------------------------------------------


def info() -> dict[str, Any]:
    """What a broker says of itself first, for tests that are one."""
    return {
        "protocol": 1,
        "version": "0.0.1",
        "client_id": "00000000-0000-0000-0000-000000000001",
        "dialect": "bincode",
        "max_frame": 2**20,
        "queue_messages": 1,
        "queue_bytes": 1,
        "max_patterns_per_client": 1,
        "max_filter_terms": 1,
        "max_topic_depth": 8,
        "ping_interval": 30.0,
        "auth": "none",
    }


PATIENCE = 9.0
"""Seconds after which an answer is missed: what a busy machine needs, and fewer than the broker's own for a frame."""


class Raw:
    """One blocking connection. `None` for a frame means that the broker closed it."""

    def __init__(self, path: str, timeout: float = PATIENCE) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        try:
            self.sock.connect(path)
        except BaseException:
            self.sock.close()
            raise
        self._buffer = b""
        self.info: dict[str, Any] = {}

    @classmethod
    def of(cls, accepted: socket.socket, timeout: float = PATIENCE) -> Raw:
        """The broker's end of a connection."""
        self = cls.__new__(cls)
        self.sock, self._buffer, self.info = accepted, b"", {}
        accepted.settimeout(timeout)
        return self

    def write(self, raw: bytes) -> None:
        self.sock.sendall(raw)

    def send(self, *bodies: bytes) -> None:
        self.write(framed(*bodies))

    def say(self, verb: str, **fields: Any) -> None:
        self.send(f"{verb} {json.dumps(fields)}".encode() if fields else verb.encode())

    def _read(self, count: int) -> bytes | None:
        while len(self._buffer) < count:
            try:
                more = self.sock.recv(1 << 18)
            except ConnectionError:
                more = b""
            if not more:
                assert not self._buffer, f"closed inside a frame: {self._buffer[:80]!r}"
                return None
            self._buffer += more
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def receive(self) -> bytes | None:
        prefix = self._read(4)
        if prefix is None:
            return None
        body = self._read(struct.unpack("<I", prefix)[0])
        assert body, "a frame without a body"
        return body

    def hear(self) -> tuple[str, dict[str, Any]]:
        """The next frame, which has to be a control frame."""
        body = self.receive()
        assert body is not None, "closed instead of a control frame"
        return parse_text(body)

    def expect(self, verb: str) -> dict[str, Any]:
        heard, fields = self.hear()
        assert heard == verb, f"{heard} {fields} instead of {verb}"
        return fields

    def message(self) -> Message:
        body = self.receive()
        assert body is not None, "closed instead of a message"
        assert body[0] == 0x10, f"not a message: {body[:200]!r}"
        return decode_message(body)

    def messages_until(self, verb: str) -> tuple[list[Message], dict[str, Any]]:
        """Every message before the given control frame, and that frame."""
        got: list[Message] = []
        while True:
            body = self.receive()
            assert body is not None, f"closed before {verb}"
            if body[0] == 0x10:
                got.append(decode_message(body))
                continue
            heard, _, rest = body.decode().partition(" ")
            assert heard == verb, f"{body[:200]!r} instead of {verb}"
            return got, json.loads(rest) if rest else {}

    def connect(self, client: str = "raw", **options: Any) -> dict[str, Any]:
        fields = {"protocol": 1, "client": client, "dialect": "bincode", **options}
        self.say("CONNECT", **fields)
        self.info = self.expect("INFO")
        return self.info

    def sub(self, number: int, *patterns: str, **fields: Any) -> None:
        """Sends SUB with all fields of the original's EventSubscription."""
        subscription: dict[str, Any] = {
            "id": number,
            "subscriber_id": f"raw-{number}",
            "capabilities": {"event_types": [], "collectors": [], "max_priority": 0},
            "event_filter": None,
            "correlation_filter": None,
            "topic_patterns": list(patterns),
            "enable_wildcards": True,
            "include_control": False,
        }
        self.say("SUB", **{**subscription, **fields})

    def subscribe(self, number: int, *patterns: str, **fields: Any) -> None:
        self.sub(number, *patterns, **fields)
        assert self.expect("OK")["id"] == number

    def barrier(self) -> list[Message]:
        """PING, and the messages that came before its answer."""
        self.say("PING")
        return self.messages_until("PONG")[0]

    def closed(self) -> dict[str, Any] | None:
        """Asserts that the broker closes; the ERR it sent before, if any."""
        said = None
        while True:
            body = self.receive()
            if body is None:
                return said
            if body[:3] == b"ERR":
                said = json.loads(body[4:])

    def close(self) -> None:
        self.sock.close()
