"""Control messages, and which call may publish what on which topic."""

import pytest

from daemoneye_eventbus import (
    BusEvent,
    CollectionEvent,
    ControlMessage,
    EventFilter,
    EventSubscription,
    NetworkEvent,
    ProcessEvent,
    SourceCaps,
    TopicError,
    TriggerRequest,
    wire,
)
from support import Pair, collect, process, take_all

TRIGGER = TriggerRequest(request_id="r", collector_type="t", priority=3, payload=b"p")
NOTHING = SourceCaps(event_types=[], collectors=[], max_priority=0)


async def barrier(pair: Pair, subscription) -> list:
    """Everything the subscription gets up to a trigger that is published now."""
    end = TriggerRequest(request_id="end", collector_type="t", priority=0)
    await pair.pub.publish(end)
    got = []
    while True:
        item = await subscription.get(timeout=5)
        if isinstance(item, BusEvent) and item.event == end:
            return got
        got.append(item)


@pytest.mark.parametrize("include", [False, True])
async def test_a_trigger_request_comes_once_as_an_event(pair: Pair, include):
    async with pair.sub.subscribe("control.#", "control.trigger.*", TriggerRequest, include_control=include) as events:
        await pair.pub.publish(TRIGGER, "c-9")
        (received,) = await barrier(pair, events)
        assert isinstance(received, BusEvent)
        assert received.event == TRIGGER
        assert received.topic == "control.trigger.request"
        assert received.correlation_id == "c-9"


async def test_control_comes_only_to_who_asked(pair: Pair):
    async with (
        pair.sub.subscribe("control.#") as without,
        pair.sub.subscribe("control.#", include_control=True) as including,
    ):
        await pair.pub.publish_control("control.collector.lifecycle", b"\x00\xffstop", "c-2")
        assert await barrier(pair, without) == []
        (message,) = await barrier(pair, including) or [None]
        assert isinstance(message, ControlMessage)
        assert (message.topic, message.payload) == ("control.collector.lifecycle", b"\x00\xffstop")
        assert message.correlation_metadata.correlation_id == "c-2"
        assert without.dropped == including.dropped == 0


JUNK = ("control.trigger.request", b"junk")


@pytest.mark.parametrize(
    ("kinds", "given", "comes"),
    [
        ([TriggerRequest], None, True),
        ([TriggerRequest], EventFilter(), True),
        ([TriggerRequest], EventFilter(topic_filters=["control.trigger.*"]), True),
        ([ProcessEvent, TriggerRequest], None, True),
        # Its own filters exclude what is no event, or no such event.
        ([TriggerRequest], EventFilter(event_types=["trigger"]), False),
        ([ProcessEvent, TriggerRequest], EventFilter(event_types=["trigger"]), False),
        ([TriggerRequest], EventFilter(min_priority=3), False),
        ([TriggerRequest], EventFilter(topic_filters=["events.#"]), False),
    ],
)
async def test_a_subscription_to_trigger_requests_may_include_control(pair: Pair, kinds, given, comes):
    """The filter for its type, which nobody had asked for, once excluded every control message."""
    async with (
        pair.sub.subscribe(*kinds, include_control=True, event_filter=given) as events,
        pair.sub.subscribe(*kinds, event_filter=given) as without,
    ):
        await pair.pub.publish_control(*JUNK)
        await pair.pub.publish(TRIGGER)
        await pair.pub.flush()
        await pair.sub.flush()
        messages = [item for item in take_all(events) if isinstance(item, ControlMessage)]
        assert [(one.topic, one.payload) for one in messages] == [JUNK] * comes
        assert not [item for item in take_all(without) if isinstance(item, ControlMessage)]
        assert events.dropped == without.dropped == 0


async def test_a_subscription_to_types_without_trigger_requests_has_no_others(pair: Pair):
    async with pair.sub.subscribe(ProcessEvent, include_control=True) as events:
        await pair.pub.publish(NetworkEvent("c", "s", "d", "tcp"), topic="events.process.new")
        await pair.pub.publish(process(1))
        assert [item.event.pid for item in await collect(events, 1)] == [1]


async def test_include_control_by_event_subscription(pair: Pair):
    wish = EventSubscription(subscriber_id="c", capabilities=NOTHING, topic_patterns=["#"], include_control=True)
    async with pair.sub.subscribe(wish) as events:
        await pair.pub.publish(process(1))
        await pair.pub.publish_control("health.agent.status", b"")
        await pair.pub.publish_control("control.shutdown", b"x" * 100_000)
        kinds = [type(item) for item in await barrier(pair, events)]
        assert kinds == [BusEvent, ControlMessage, ControlMessage]


async def test_control_that_decodes_as_a_trigger_is_an_event(pair: Pair):
    payload = wire.encode(TRIGGER, type=CollectionEvent)
    async with (
        pair.sub.subscribe("control.trigger.request") as events,
        pair.sub.subscribe("control.trigger.request", include_control=True) as including,
    ):
        await pair.pub.publish_control("control.trigger.request", payload)
        await pair.pub.publish_control("control.trigger.request", payload + b"\0")
        await pair.pub.publish_control("control.trigger.request", b"")
        (event,) = await barrier(pair, events)
        assert event.event == TRIGGER
        got = await barrier(pair, including)
        assert [type(item) for item in got] == [BusEvent, ControlMessage, ControlMessage]
        assert [item.payload for item in got[1:]] == [payload + b"\0", b""]


async def test_a_trigger_elsewhere_is_a_control_message(pair: Pair):
    async with (
        pair.sub.subscribe("control.#") as without,
        pair.sub.subscribe("control.#", include_control=True) as including,
    ):
        await pair.pub.publish(TRIGGER, topic="control.collector.task")
        assert await barrier(pair, without) == []
        (message,) = await barrier(pair, including)
        assert isinstance(message, ControlMessage)
        assert wire.decode(CollectionEvent, message.payload) == TRIGGER


async def test_events_may_go_to_health(pair: Pair):
    async with pair.sub.subscribe("health.#") as events:
        await pair.pub.publish(process(1), topic="health.agent.process")
        (received,) = await collect(events, 1)
        assert received.topic == "health.agent.process"


@pytest.mark.parametrize(
    ("event", "topic"),
    [
        (process(1), "control.trigger.request"),
        (process(1), "control.x"),
        (TRIGGER, "events.process.new"),
        (TRIGGER, "health.x"),
    ],
)
async def test_publish_refuses_foreign_domains(pair: Pair, event, topic):
    async with pair.sub.subscribe("#", include_control=True) as events:
        with pytest.raises(TopicError):
            await pair.pub.publish(event, topic=topic)
        with pytest.raises(TopicError):
            pair.pub.publish_nowait(event, topic=topic)
        assert await barrier(pair, events) == []


async def test_publish_control_refuses_events(pair: Pair):
    async with pair.sub.subscribe("#", include_control=True) as events:
        with pytest.raises(TopicError):
            await pair.pub.publish_control("events.process.new", b"x")
        assert await barrier(pair, events) == []


async def test_wrong_arguments_are_type_errors(pair: Pair):
    for wrong in (None, "x", b"x", {"pid": 1}, ProcessLike()):
        with pytest.raises(TypeError):
            await pair.pub.publish(wrong)
    with pytest.raises(TypeError):
        await pair.pub.publish(process(1), 17)
    with pytest.raises(TypeError):
        await pair.pub.publish_control("control.x", "text")
    async with pair.sub.subscribe("#") as events:
        await pair.pub.publish(process(2))
        assert [i.event.pid for i in await collect(events, 1)] == [2]
        assert take_all(events) == []


class ProcessLike:
    pid = 1
    name = "sh"
