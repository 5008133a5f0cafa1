"""A value of a wrong type: the error names the parameter, what it must be, and what came. For each of every method."""

from __future__ import annotations

import inspect
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from daemoneye_eventbus import (
    Broker,
    CollectionEvent,
    CorrelationMetadata,
    EventBus,
    FrozenMap,
    ProcessEvent,
    Subscription,
    Timestamp,
    TopicPattern,
    os_bytes,
    os_text,
    topics,
    wire,
)
from daemoneye_eventbus.testing import collect_events
from support import make_pair, process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EVENT = process(1)


class Odd:
    """Of no type that anything takes."""


# One of each kind; a parameter is tried with those that are not of its own.
VALUES: dict[str, Any] = {
    "int": 5,
    "float": 1.5,
    "bool": True,
    "str": "1",
    "bytes": b"1",
    "list": [Odd()],
    "dict": {1: 2},
    "None": None,
    "object": Odd(),
}
Case = tuple[str, "Callable[[Any], Any]", set[str]]


SECONDS = {"int", "float"}


# Each parameter: its name, a call with it, and what it takes.


def of_brokers(path: str, broker: Broker) -> Iterator[Case]:
    yield "path", lambda value: Broker(value), {"str", "None"}
    yield "instance", lambda value: Broker(instance=value), {"str", "None"}
    yield "config", lambda value: Broker(path, config=value), {"None"}
    yield "listener", lambda value: Broker.from_listener(value), {"int"}
    yield "config", lambda value: Broker.from_listener(0, config=value), {"None"}
    yield "timeout", lambda value: broker.shutdown(value), SECONDS
    yield "client_id", lambda value: broker.subscribe_client(value, []), {"str"}
    yield "patterns", lambda value: broker.subscribe_client("00", value), set()
    yield "client_id", lambda value: broker.disconnect_client(value), {"str"}
    yield "tell", lambda value: broker.observe_end(value), set()


def of_buses(path: str, broker: Broker, bus: EventBus) -> Iterator[Case]:
    correlation, topic = {"str", "None"}, {"str", "None"}
    yield "path", lambda value: EventBus.connect(value), {"str", "None"}
    yield "instance", lambda value: EventBus.connect(instance=value), {"str", "None"}
    yield "config", lambda value: EventBus.connect(path, config=value), {"None"}
    yield "broker", lambda value: EventBus.from_broker(value), set()
    yield "config", lambda value: EventBus.from_broker(broker, config=value), {"None"}
    yield "subscribe", lambda value: bus.subscribe(value), {"str"}
    yield "queue_messages", lambda value: bus.subscribe("events.#", queue_messages=value), {"int"}
    yield "queue_bytes", lambda value: bus.subscribe("events.#", queue_bytes=value), {"int"}
    yield "overflow", lambda value: bus.subscribe("events.#", overflow=value), {"str"}
    yield "include_control", lambda value: bus.subscribe("events.#", include_control=value), {"bool"}
    yield "event_filter", lambda value: bus.subscribe("events.#", event_filter=value), {"None"}
    yield "event_filter", lambda value: bus.subscribe(ProcessEvent, event_filter=value), {"None"}
    yield "correlation_filter", lambda value: bus.subscribe("events.#", correlation_filter=value), {"None"}
    yield "subscriber_id", lambda value: bus.unsubscribe(value), {"str"}
    yield "timeout", lambda value: bus.flush(value), SECONDS
    yield "timeout", lambda value: bus.drain(value), SECONDS
    for name, publish in (("publish", bus.publish), ("publish_nowait", bus.publish_nowait)):
        yield f"{name}.event", publish, set()
        yield f"{name}.correlation", lambda value, publish=publish: publish(EVENT, value), correlation
        yield f"{name}.topic", lambda value, publish=publish: publish(EVENT, topic=value), topic
    yield "publish_many.events", lambda value: bus.publish_many(value), {"list", "dict", "str", "bytes"}
    yield "publish_many.events", lambda value: bus.publish_many([value]), set()
    for some in ([EVENT], []):
        yield "publish_many.correlation", lambda value, some=some: bus.publish_many(some, value), correlation
        yield "publish_many.topic", lambda value, some=some: bus.publish_many(some, topic=value), topic
    yield "publish_control.topic", lambda value: bus.publish_control(value, b""), {"str"}
    yield "publish_control.payload", lambda value: bus.publish_control("control.x", value), {"bytes"}
    yield "publish_control.correlation", lambda value: bus.publish_control("control.x", b"", value), correlation


def of_readers(events: Subscription[Any]) -> Iterator[Case]:
    yield "timeout", lambda value: events.get(value), {*SECONDS, "None"}
    yield "max", lambda value: events.get_many(value), {"int"}
    yield "timeout", lambda value: events.get_many(1, value), {*SECONDS, "None"}
    yield "count", lambda value: collect_events(events, value), {"int"}
    yield "timeout", lambda value: collect_events(events, 1, value), SECONDS


def of_values() -> Iterator[Case]:
    yield "value", lambda value: wire.encode(value), set()
    yield "value", lambda value: wire.encode(value, type=CollectionEvent), set()
    yield "dialect", lambda value: wire.encode(EVENT, value), {"str"}
    yield "type", lambda value: wire.encode(EVENT, type=value), {"None"}
    yield "type", lambda value: wire.decode(value, b""), set()
    yield "data", lambda value: wire.decode(ProcessEvent, value), {"bytes"}
    yield "dialect", lambda value: wire.decode(ProcessEvent, b"", value), {"str"}
    yield "value", os_text, {"str", "bytes"}
    yield "text", os_bytes, {"str"}
    yield "TopicPattern.pattern", TopicPattern, {"str"}
    yield "TopicPattern.topic", lambda value: TopicPattern("events.#").matches(value), {"str"}
    yield "FrozenMap", FrozenMap, set()
    yield "ns", Timestamp.from_ns, {"int"}
    correlated = CorrelationMetadata("x")
    yield "CorrelationMetadata.correlation_id", correlated.create_child, {"str"}
    yield "CorrelationMetadata.workflow_stage", correlated.with_stage, {"str"}
    yield "CorrelationMetadata.correlation_tags", lambda value: correlated.with_tag(value, "v"), {"str"}
    yield "CorrelationMetadata.correlation_tags", lambda value: correlated.with_tag("k", value), {"str"}
    yield "pattern", correlated.matches_pattern, {"str"}
    yield "collector_type", lambda value: topics.task_topic(value, "1"), {"str"}
    yield "collector_id", lambda value: topics.task_topic("x", value), {"str"}
    for build in (topics.lifecycle_topic, topics.config_topic, topics.heartbeat_topic, topics.shutdown_topic):
        yield "collector_id", build, {"str"}


async def outcome(call: Callable[[Any], Any], value: object) -> str:
    try:
        result = call(value)
        if inspect.isawaitable(result):
            await result
    except TypeError as error:
        return str(error)
    except Exception as error:
        return repr(error)
    return "taken"


@pytest.mark.limit(60)
async def test_each_is_named_with_what_it_must_be_and_what_came(kind, path):
    wrong = []
    async with make_pair(kind, path) as pair, pair.sub.subscribe("control.#", include_control=True) as events:
        broker, bus = pair.broker, pair.sub
        cases = (of_brokers(path, broker), of_buses(path, broker, bus), of_readers(events), of_values())
        for name, call, takes in itertools.chain(*cases):
            for sort, value in VALUES.items():
                if sort in takes:
                    continue
                said = await outcome(call, value)
                # Of what holds something else, that is named too.
                inside = value if isinstance(value, list | dict | bytes) else ()
                came = [type(value).__name__, *(type(one).__name__ for one in inside)]
                if not (name in said and "expected" in said and any(f"got {one}" in said for one in came)):
                    wrong.append(f"{name} given {sort}: {said}")
        assert wrong == []
        assert events.pending == 0, "nothing was published"
        assert pair.sub.state == "connected"


@pytest.mark.parametrize("owner", [Broker, EventBus, Subscription, CorrelationMetadata, TopicPattern, wire, topics])
def test_every_public_parameter_has_a_case(owner):
    """Each public callable that takes arguments is in the lists above."""
    tried = "".join(inspect.getsource(group) for group in (of_brokers, of_buses, of_readers, of_values))
    for name in [name for name in dir(owner) if not name.startswith("_")]:
        member = getattr(owner, name)
        if not inspect.isroutine(member) or (inspect.ismodule(owner) and name not in owner.__all__):
            continue
        bound = (
            inspect.ismodule(owner) or inspect.ismethod(member) or isinstance(owner.__dict__.get(name), staticmethod)
        )
        if len(inspect.signature(member).parameters) > (0 if bound else 1):
            assert f".{name}" in tried, f"{owner.__name__}.{name}"


@pytest.mark.parametrize("value", ["5", b"5", True, float("nan"), [1]], ids=repr)
async def test_a_timeout_is_looked_at_where_nothing_has_to_wait(path: str, value: Any) -> None:
    """Checked always, since the same call may have to wait another time."""
    broker = Broker(path)
    await broker.start()
    bus = await EventBus.from_broker(broker)
    events = await bus.subscribe("events.#")
    for _ in range(2):
        await bus.publish(EVENT)
    waits: list[Callable[[], Any]] = [
        lambda: events.get(value),
        lambda: events.get_many(1, value),
        lambda: bus.flush(value),
        lambda: bus.drain(value),
        lambda: broker.shutdown(value),
    ]
    for wait in waits:
        with pytest.raises((TypeError, ValueError), match=r"^timeout: "):
            await wait()
    assert events.pending == 2, "nothing was taken"
    assert (await events.get(1)).event == (await events.get(1.5)).event == EVENT
    await bus.shutdown()
    await broker.shutdown()
    for wait in waits:
        with pytest.raises((TypeError, ValueError), match=r"^timeout: "):
            await wait()


@pytest.mark.parametrize("owner", [Broker, EventBus, Subscription])
async def test_a_call_with_wrong_arguments_names_what_was_called(owner: type, path: str) -> None:
    """Python's own errors for these, whatever private class has the method."""
    async with make_pair("inproc", path) as pair, pair.sub.subscribe("events.#") as events:
        objects: dict[type, Any] = {Broker: pair.broker, EventBus: pair.sub, Subscription: events}
        for name in [name for name in dir(owner) if not name.startswith("_")]:
            method = getattr(objects[owner], name)
            if not inspect.isroutine(method):
                continue
            for given, named in (((), {"nonsense": 1}), ((EVENT,) * 9, {})):
                # What takes any number looks at them one by one.
                if given and name == "subscribe":
                    continue
                with pytest.raises(TypeError, match=rf"^{owner.__name__}\.{name}\(\) ") as caught:
                    method(*given, **named)
                assert "nonsense" in str(caught.value) or "given" in str(caught.value)


@pytest.mark.parametrize(("owner", "make"), [(EventBus, "EventBus.connect"), (Subscription, "EventBus.subscribe")])
def test_a_class_that_is_not_called_says_how_to_get_one(owner: Any, make: str) -> None:
    for given, named in (((), {}), ((1,), {}), ((), {"path": "x"})):
        with pytest.raises(TypeError, match=rf"^{owner.__name__}: make one with {make}\("):
            owner(*given, **named)
