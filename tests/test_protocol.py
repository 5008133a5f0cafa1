"""The control protocol, spoken by hand: answers in order, and what does not close."""

import contextlib
import uuid

import pytest

import raw as wire
from daemoneye_eventbus import Broker, BrokerConfig, EventBus, TriggerRequest
from support import collect, process

LIMITS = {"protocol", "version", "client_id", "dialect", "max_frame", "nonce", "auth"}


@pytest.fixture
def peer(broker, path, raw):
    made = raw(path)
    made.connect()
    return made


async def test_connect_is_answered_by_info(broker, path, raw):
    one, two = raw(path), raw(path)
    info = one.connect(nonce="00" * 16)
    assert LIMITS <= set(info)
    assert (info["protocol"], info["dialect"], info["max_frame"]) == (1, "bincode", 1 << 20)
    assert info["auth"] == "none"
    assert len(bytes.fromhex(info["nonce"])) in (16, 32)
    uuid.UUID(info["client_id"])
    other = two.connect(future_field={"a": [1]}, max_frame=5000)
    assert other["client_id"] != info["client_id"]
    assert other["nonce"] != info["nonce"]
    assert other["max_frame"] == 5000


async def test_the_broker_never_speaks_first(broker, path, raw):
    silent = raw(path, 0.3)
    with pytest.raises(TimeoutError):
        silent.receive()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"protocol": 255}, "unsupported_version"),
        ({"dialect": "morse"}, None),
        ({"protocol": 0}, None),
    ],
    ids=str,
)
async def test_connect_that_cannot_be_served(broker, path, raw, fields, code):
    peer = raw(path)
    peer.say("CONNECT", **{"protocol": 1, "client": "x", "dialect": "bincode", **fields})
    said = peer.closed()
    assert said is not None
    if code:
        assert said["code"] == code
        assert said["highest"] == 1


async def test_versions_are_negotiated_downwards(broker, path, raw):
    assert raw(path).connect(protocol=9, min_protocol=1)["protocol"] == 1


async def test_a_message_both_ways_byte_for_byte(peer, path):
    """Our own codec against the library's, in both directions."""
    from daemoneye_eventbus import CorrelationMetadata

    peer.subscribe(1, "events.#")
    given = CorrelationMetadata("r").create_child("k").with_stage("s").with_tag("a", "b")
    event = process(70_000, "nä", ppid=300, command_line="c", executable_path="/x", metadata={"m": "n"})
    async with EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
        await bus.publish(event, given, topic="events.process.start")
        (mine,) = await collect(events, 1)
        message = peer.message()
        assert (message.topic, message.type) == ("events.process.start", wire.EVENT)
        assert (message.correlation, message.parent, message.root) == ("k", "r", "r")
        assert (message.stage, message.tags) == ("s", {"a": "b"})
        assert str(message.id) == mine.event_id
        assert (message.sequence, message.timestamp_ns) == (mine.sequence, mine.bus_timestamp_ns)
        assert wire.decode_process(message.payload) == wire.Process(70_000, "nä", "c", "/x", 300, None, {"m": "n"})
        sent = wire.Message(
            "events.process.new",
            wire.process_event(5, "q", {"x": "y"}),
            sequence=1 << 40,
            correlation="c-7",
            parent="p",
            root="r",
            stage="t",
            tags={"k": "v"},
            correlation_sequence=300,
            timestamp_ns=1_700_000_000_123_456_789,
        )
        peer.send(sent.encode())
        (received,) = await collect(events, 1)
        assert received.event == process(5, "q", metadata={"x": "y"})
        assert received.event_id == str(sent.id)
        assert received.sequence == 1 << 40
        assert received.bus_timestamp_ns == sent.timestamp_ns
        metadata = received.correlation_metadata
        assert (metadata.correlation_id, metadata.parent_correlation_id) == ("c-7", "p")
        assert (metadata.sequence_number, metadata.workflow_stage) == (300, "t")
        assert metadata.created_at.ns == sent.created_ns
        assert peer.receive() == sent.encode(), "heard back untouched"


async def test_a_trigger_request_is_written_as_control(peer, path):
    peer.subscribe(1, "control.trigger.request", include_control=True)
    async with EventBus.connect(path) as bus:
        await bus.publish(TriggerRequest(request_id="r", collector_type="t", priority=9, payload=b"p"))
        message = peer.message()
    assert message.type == wire.CONTROL
    assert message.payload == wire.trigger_request("r", "t", 9, b"p")


async def test_a_subscription_lives_from_its_ok_to_its_unsubs_ok(peer):
    """All in one write: the answers stand in the stream where the subscription began and ended."""
    frames = [wire.process_message(n, sequence=n) for n in range(6)]
    peer.send(*frames[:2])
    peer.sub(1, "events.#")
    peer.send(*frames[2:4])
    peer.say("UNSUB", id=1)
    peer.send(*frames[4:])
    peer.say("PING")
    assert peer.expect("OK")["id"] == 1
    got, ok = peer.messages_until("OK")
    assert [m.sequence for m in got] == [2, 3]
    assert ok["id"] == 1
    assert peer.messages_until("PONG")[0] == []


async def test_once_per_connection_however_many_match(peer):
    peer.subscribe(1, "events.#")
    peer.subscribe(2, "events.process.*", "events.process.new")
    peer.send(wire.process_message(1))
    assert len(peer.barrier()) == 1


async def test_stats(peer):
    peer.subscribe(1, "events.#")
    peer.send(*(wire.process_message(n) for n in range(4)))
    assert len(peer.barrier()) == 4
    peer.say("STATS", id=2)
    said = peer.expect("OK")
    assert said.pop("id") == 2
    assert isinstance(said.pop("uptime_seconds"), int)
    assert said == {
        "messages_published": 4,
        "messages_delivered": 4,
        "active_subscribers": 1,
        "active_topics": 1,
    }


async def test_bye_delivers_what_is_queued(peer):
    peer.subscribe(1, "events.#")
    peer.send(*(wire.process_message(n) for n in range(1000)))
    peer.say("BYE")
    got, _ = peer.messages_until("BYE")
    assert len(got) == 1000
    assert peer.receive() is None


async def test_bye_of_a_stopping_broker(path, raw):
    from daemoneye_eventbus import Broker

    async with Broker(path):
        peer = raw(path)
        peer.connect()
    assert "reason" in peer.expect("BYE")
    assert peer.receive() is None


@pytest.mark.parametrize(
    "fields",
    [
        {"id": 1},
        {"id": 3, "topic_patterns": ["events.#.x"]},
        {"id": 4, "topic_patterns": []},
        {"id": 5, "topic_patterns": ["events.*"], "enable_wildcards": False},
    ],
    ids=["reused id", "bad pattern", "no pattern", "wildcards off"],
)
async def test_a_refused_sub_keeps_the_connection(peer, fields):
    peer.subscribe(1, "events.#")
    peer.sub(fields["id"], "events.a", **{k: v for k, v in fields.items() if k != "id"})
    refused = peer.expect("ERR")
    assert (refused["id"], bool(refused["code"]), bool(refused["message"])) == (
        fields["id"],
        True,
        True,
    )
    peer.send(wire.process_message(7))
    assert len(peer.barrier()) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"topic_patterns": 7},
        {"topic_patterns": [7]},
        {"include_control": "yes"},
        {"event_filter": "pids"},
        {"event_filter": {"pids": ["one"]}},
        {"correlation_filter": {"min_sequence": -1}},
        {"correlation_filter": {"min_sequence": 5, "max_sequence": 2}},
        {"capabilities": None},
        {"subscriber_id": {}},
    ],
    ids=str,
)
async def test_a_sub_with_fields_of_wrong_types_is_answered(broker, peer, fields):
    peer.sub(3, "events.#", **fields)
    refused = peer.expect("ERR")
    assert (refused["id"], refused["code"]) == (3, "subscription_refused")
    assert refused["message"]
    assert "protocol error" not in refused["message"]
    peer.subscribe(3, "events.#")
    peer.send(wire.process_message(7))
    assert len(peer.barrier()) == 1
    assert broker.statistics().refused == {"subscription_refused": 1}


@pytest.mark.parametrize(
    "text",
    [b'SUB {"id":1,"topic_patterns":', b'SUB {"topic_patterns":["events.#"]}', b'SUB {"id":"1"}', b"SUB [1]", b"SUB"],
    ids=str,
)
async def test_a_sub_without_an_id_to_answer_to_ends_the_connection(peer, text):
    peer.send(text)
    last = peer.closed()
    assert last["code"] == "protocol"
    assert last["message"].startswith("SUB: ")


@pytest.mark.parametrize(
    "text",
    [
        'CONNECT {"protocol":1,"client":"x","dialect":"bincode"}',
        'AUTH {"proof":"00"}',
        'UNSUB {"id":"x"}',
        'STATS {"id":"x"}',
        "PING:00",
        "abc",
    ],
)
async def test_what_has_no_place_in_a_connection_ends_it(peer, text):
    peer.send(text.encode())
    assert peer.closed()["code"] == "protocol"


async def test_unsub_of_an_unknown_id(peer):
    peer.say("UNSUB", id=99)
    assert peer.expect("ERR")["id"] == 99
    assert peer.barrier() == []


async def test_unknown_verbs_and_fields_are_not_fatal(peer):
    peer.say("HELLO", world=1)
    assert peer.expect("ERR")["code"] == "unknown_verb"
    peer.sub(1, "events.#", color="red")
    assert peer.expect("OK")["id"] == 1


REFUSED = {
    "topic of another domain": wire.process_message(1, "control.x", 9),
    "control on events": wire.Message("events.process.new", b"x", 9, wire.CONTROL).encode(),
    "heartbeat": wire.Message("control.health.heartbeat", b"", 9, wire.HEARTBEAT).encode(),
    "shutdown": wire.Message("control.shutdown", b"", 9, wire.SHUTDOWN).encode(),
}


@pytest.mark.parametrize("frame", REFUSED.values(), ids=REFUSED.keys())
async def test_a_refused_publish_keeps_the_connection(peer, frame):
    peer.subscribe(1, "#", include_control=True)
    peer.send(frame)
    refused = peer.expect("ERR")
    assert refused["sequence"] == 9
    assert refused["topic"] == wire.decode_message(frame).topic
    peer.send(wire.process_message(2))
    assert [wire.decode_process(m.payload).pid for m in peer.barrier()] == [2]
    peer.say("STATS", id=3)
    assert peer.expect("OK")["messages_published"] == 1


async def test_refusals_merge_but_their_number_is_exact(peer):
    peer.send(*(wire.process_message(1, "nowhere", n) for n in range(5000)))
    peer.say("PING")
    count, last = 0, None
    while True:
        verb, fields = peer.hear()
        if verb == "PONG":
            break
        assert verb == "ERR"
        count += fields.get("count", 1)
        last = fields["sequence"]
    assert (count, last) == (5000, 4999)


@pytest.mark.parametrize("size", [65536, 2 << 20])
async def test_a_control_text_above_its_limit_is_told_that_limit(peer, size):
    """No setting raises it, least of all max_frame."""
    with contextlib.suppress(OSError):
        peer.send(b"STATS " + b" " * size)
    said = peer.closed()
    assert said["code"] == "frame_too_large"
    assert "65536" in said["message"]
    assert "max_frame" not in said["message"]


async def test_a_message_above_a_small_limit_is_told_that_one(path, raw):
    """And not that of control texts, which is larger."""
    async with Broker(path, config=BrokerConfig(max_frame=1024)):
        peer = raw(path)
        peer.connect()
        peer.send(wire.Message("control.agent.x", b" " * 70_000, type=wire.CONTROL).encode())
        said = peer.closed()
    assert said["code"] == "frame_too_large"
    assert "limit of 1024;" in said["message"]
    assert "max_frame" in said["message"]
