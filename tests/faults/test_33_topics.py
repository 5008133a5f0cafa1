"""Fault 33. What is no topic, at the client, at the broker, and in the log."""

import asyncio
import re

import pytest

from daemoneye_eventbus import ClientConfig, EventBus, ProcessEvent, TopicError
from raw import Message, process_event

pytestmark = [
    pytest.mark.fault(
        33,
        "H",
        "topics: empty, a..b, edge dots, 64 KiB, 1,000 levels, NUL, newline, ANSI, U+202E, wildcards, reserved prefix",
        "refused by reason, same verdict in client and broker; logs escaped",
    ),
    pytest.mark.quick,
    pytest.mark.limit(60),
]
BAD = [
    "", ".", "events", "events..x", ".events.x", "events.x.", "events." + "x" * 65_000, ".".join(["events"] * 1000),
    "events.a\0b", "events.a\nb", "events.\x1b[31mred", "events.a\u202eb", "events.*", "events.#", "events.+.x",
    "events.#.x", "$SYS.x", "_internal.x", "Events.x", "events.X", "events.a b", "events/x", "other.x", "events.é",
]  # fmt: skip
BAD_PATTERNS = ["events.#.x", "events.a*", "events.++", "#.x", "events..*", "", "events.a#", "events.\x1b[31m"]


def test_client_and_broker_agree(bench, path, seen):
    b = bench()
    at_client = {}
    messages: list[str] = []

    async def main():
        async with EventBus.connect(path, config=ClientConfig(pool=False)) as bus:
            for topic in BAD:
                try:
                    await bus.publish(ProcessEvent(pid=1, name="x"), topic=topic)
                    at_client[topic] = "taken"
                except TopicError as error:
                    at_client[topic] = "TopicError"
                    messages.append(str(error))
            await bus.flush()
            assert bus.local_statistics()["published"] == list(at_client.values()).count("taken")

    asyncio.run(main())
    assert all(message.isprintable() for message in messages)
    at_broker = {}
    peer = b.connected()
    for topic in BAD:
        peer.send(Message(topic, process_event(1)).encode())
        peer.say("PING")
        verb, fields = peer.hear()
        at_broker[topic] = "taken" if verb == "PONG" else "TopicError"
        if verb == "ERR":
            assert fields["code"] == "topic", (topic[:40], fields)
            peer.expect("PONG")
    taken = {topic for topic in BAD if at_broker[topic] == "taken"}
    assert at_client == at_broker
    assert taken <= {"events"}, taken
    for number, pattern in enumerate(BAD_PATTERNS, 1):
        peer.sub(number, pattern)
        assert peer.expect("ERR")["code"] in {"pattern", "subscription_refused"}
    for line in b.log():
        assert line.isprintable(), line
        assert not re.search("\x1b|\u202e", line)
    seen(f"{len(BAD) - len(taken)} topics and {len(BAD_PATTERNS)} patterns refused alike; {b.undisturbed()}")
