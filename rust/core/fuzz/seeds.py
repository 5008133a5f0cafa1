"""Writes the first inputs of every fuzz target from the golden vectors: seeds.py [CORPUS]. Standard library only.

What a run finds beyond them is added to the same folders by `make fuzz KEEP=1`, crashers by hand.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "tests"))

from raw import Message, process_event  # noqa: E402  - the tests' own codec

VECTORS = HERE.parents[2] / "tests" / "vectors"
LARGEST = 2000
PER_KIND = 60


def framed(*bodies: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(body)) + body for body in bodies)


def vectors(dialect: str) -> tuple[list[bytes], list[bytes]]:
    """Messages and events of a dialect, taken and refused ones."""
    known = json.loads((VECTORS / f"{dialect}.json").read_text())
    both: dict[str, list[bytes]] = {"Message": [], "CollectionEvent": []}
    for group in ("vectors", "reject", "lenient"):
        for vector in known[group]:
            data = bytes.fromhex(vector.get("hex", ""))
            if vector["type"] in both and len(data) <= LARGEST:
                both[vector["type"]].append(data)
    thin = lambda items: items[:: max(1, len(items) // PER_KIND)]  # noqa: E731
    return thin(both["Message"]), thin(both["CollectionEvent"])


def texts() -> list[bytes]:
    hello = {"protocol": 1, "client": "f", "dialect": "bincode"}
    subscription = {
        "id": 1, "subscriber_id": "s", "topic_patterns": ["events.#", "events.*", "health.+"], "include_control": True,
        "capabilities": {"event_types": ["process"], "collectors": ["c"], "max_priority": 3},
        "event_filter": {"event_types": ["process"], "pids": [1, 2], "min_priority": 1, "metadata_filters": {"a": "b"},
                         "topic_filters": ["events.#"], "source_collectors": ["c"]},
        "correlation_filter": {"correlation_id": "c", "required_tags": {"a": "b"}, "any_tags": {"a": "b"}},
    }  # fmt: skip
    say = lambda verb, fields: f"{verb} {json.dumps(fields)}".encode()  # noqa: E731
    return [
        say("CONNECT", hello),
        say("CONNECT", {**hello, "dialect": "postcard", "congestion": "block", "overflow": "disconnect",
                        "queue_messages": 5, "queue_bytes": 100, "max_frame": 2000, "nonce": "00" * 32}),
        say("CONNECT", {**hello, "protocol": 9, "min_protocol": 1}),
        say("SUB", subscription),
        say("SUB", {"id": 2, "topic_patterns": ["control.#"]}),
        say("UNSUB", {"id": 1}),
        say("STATS", {"id": 3}),
        say("AUTH", {"proof": "11" * 32}),
        say("INFO", {"protocol": 1}),
        say("OK", {"id": 1}),
        say("ERR", {"code": "topic", "message": "m", "topic": "t", "sequence": 1, "count": 2}),
        say("DROPPED", {"subscriptions": {"1": 2}, "reason": "overflow"}),
        say("BYE", {"reason": "r"}),
        b"PING", b"PONG", b"BYE", b"PING:00ff", b"FUTURE {}",
    ]  # fmt: skip


def message(pid: int) -> bytes:
    """The same bytes each time."""
    then = 1_700_000_000 * 10**9
    topic = f"events.process.t{pid}"
    return Message(
        topic, process_event(pid), 900 * pid, id=uuid.UUID(int=pid), timestamp_ns=then, created_ns=then
    ).encode()


def main(corpus: Path) -> None:
    def put(target: str, data: bytes) -> None:
        folder = corpus / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / hashlib.sha1(data, usedforsecurity=False).hexdigest()[:16]).write_bytes(data)

    for index, dialect in enumerate(("bincode", "postcard")):
        messages, events = vectors(dialect)
        hello = f'CONNECT {{"protocol":1,"client":"f","dialect":"{dialect}"}}'.encode()
        for body in messages:
            put("dialect", bytes([index]) + body)
            put("translate", bytes([index]) + body)
            if body:
                put("frame", b"\2\0" + framed(body))
                put("session", b"\0" + framed(hello, body, b"PING"))
        for body in events:
            put("dialect", bytes([index | 2]) + body)
        put("session", b"\0" + framed(hello, *messages[-8:], b"BYE"))
        if dialect == "bincode":
            sent = [message(pid) for pid in range(3)]
            put("session", b"\0" + framed(hello, *sent, b"PING", *sent, b"BYE"))
            put("session", b"\xa0" + framed(hello, texts()[3], *sent, b"PING"))
        put("session", b"\x90" + framed(hello, *texts()[3:8], *messages[-3:]))
    for text in texts():
        put("text", text)
        put("frame", b"\1\x05\1\2\3\4\5" + framed(text, text))
        put("session", b"\0" + framed(text))
        put("session", b"\0" + framed(texts()[0], text, b"PING"))
    for lines in (
        "events.process.new\nevents.*\nevents.#\nevents.+.new\nevents.process.*",
        "control.a.b.c.d.e.f.g\n+.a\n*.a.b\n#\nhealth\nhealth.#",
        "events..x\n.\nevents.A\nevents.a*\nevents.#.x\n" + "events." + "x" * 260,
    ):
        put("topic", lines.encode())


main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "corpus")
