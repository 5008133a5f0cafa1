"""What a type checker knows of the public API: run by pytest, and read by mypy and pyright, who check each assert_type.

Nothing here is cast, and nothing is ignored.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, assert_never, assert_type

import pytest

from daemoneye_eventbus import (
    Broker,
    BrokerConfig,
    BrokerStatistics,
    BusEvent,
    ClientConfig,
    ClientInfo,
    CollectionEvent,
    ControlMessage,
    CorrelationFilter,
    CorrelationMetadata,
    EventBus,
    EventBusError,
    EventBusStatistics,
    EventFilter,
    EventSubscription,
    FilesystemEvent,
    FrameTooLarge,
    FrozenMap,
    NetworkEvent,
    PerformanceEvent,
    ProcessEvent,
    SourceCaps,
    Subscription,
    Timestamp,
    TopicPattern,
    TriggerRequest,
    WouldBlock,
    os_bytes,
    os_text,
    topics,
    wire,
)
from daemoneye_eventbus.testing import collect_events

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

SHELL = ProcessEvent(pid=1234, name="sh")
CONNECTION = NetworkEvent(connection_id="c", source_address="a", destination_address="b", protocol="tcp")
State = Literal["connecting", "connected", "reconnecting", "closed"]


async def test_the_block_that_the_api_begins_with(path: str) -> None:
    async with Broker(path) as broker:
        async with EventBus.from_broker(broker) as bus:
            async with bus.subscribe(ProcessEvent) as events:
                await bus.publish(ProcessEvent(pid=1234, name="sh"), "c-1")
                async for received in events:
                    assert_type(received, BusEvent[ProcessEvent])
                    assert_type(received.event, ProcessEvent)
                    assert_type(received.event.pid, int)
                    assert_type(received.correlation_id, str)
                    print(received.topic, received.event.pid, received.correlation_id)
                    break
        async with EventBus.connect(path) as bus:
            assert_type(bus, EventBus)


async def test_what_opens_is_coroutine_and_context_manager(path: str) -> None:
    async with Broker(path) as broker:
        opening: Coroutine[Any, Any, EventBus] = EventBus.connect(path)
        entering: AbstractAsyncContextManager[EventBus, None] = EventBus.from_broker(broker)
        remote = await asyncio.wait_for(opening, 5)
        assert_type(remote, EventBus)
        await remote.shutdown()
        async with entering as local:
            assert_type(local, EventBus)
            subscription = await asyncio.create_task(local.subscribe(ProcessEvent))
            assert_type(subscription, Subscription[BusEvent[ProcessEvent]])
            one, two = await asyncio.gather(EventBus.connect(path), local.subscribe("events.#"))
            assert_type(one, EventBus)
            assert_type(two, Subscription[BusEvent[CollectionEvent]])
            await one.shutdown()
        last = await EventBus.connect(path)
        await last.drain()


class OwnBus(EventBus):
    """A bus with a method of its own."""

    def own(self) -> int:
        return 1


async def test_a_class_derived_from_a_bus_opens_as_itself(path: str) -> None:
    async with Broker(path) as broker:
        async with OwnBus.connect(path) as remote:
            assert_type(remote, OwnBus)
            assert remote.own() == 1
        local = await OwnBus.from_broker(broker)
        assert_type(local, OwnBus)
        assert local.own() == 1
        await local.shutdown()


async def test_what_subscribe_yields(eventbus_bus: EventBus) -> None:
    bus = eventbus_bus
    async with (
        bus.subscribe(ProcessEvent) as typed,
        bus.subscribe(ProcessEvent, NetworkEvent, event_filter=EventFilter(event_types=["network"])) as either,
        bus.subscribe("events.#", "control.#", overflow="drop_newest") as patterns,
        bus.subscribe("events.#", ProcessEvent) as mixed,
        bus.subscribe("#", include_control=True) as everything,
        bus.subscribe("#", include_control=False) as events,
        bus.subscribe(TriggerRequest, include_control=False) as requests,
        bus.subscribe(EventSubscription("me", SourceCaps(event_types=["process"]))) as specified,
    ):
        assert_type(typed, Subscription[BusEvent[ProcessEvent]])
        assert_type(either, Subscription[BusEvent[CollectionEvent]])
        assert_type(patterns, Subscription[BusEvent[CollectionEvent]])
        assert_type(mixed, Subscription[BusEvent[CollectionEvent]])
        assert_type(events, Subscription[BusEvent[CollectionEvent]])
        assert_type(requests, Subscription[BusEvent[TriggerRequest]])
        assert_type(everything, Subscription[BusEvent[CollectionEvent] | ControlMessage])
        assert_type(specified, Subscription[BusEvent[CollectionEvent] | ControlMessage])

        await bus.publish_control("control.agent.policy", b"payload")
        message = await everything.get(timeout=5)
        assert_type(message, BusEvent[CollectionEvent] | ControlMessage)
        assert isinstance(message, ControlMessage)
        assert_type(message.payload, bytes)

        await bus.publish(CONNECTION)
        assert (await either.get(timeout=5)).event == CONNECTION


async def test_ways_to_read(eventbus_bus: EventBus) -> None:
    async with eventbus_bus.subscribe(ProcessEvent) as events:
        assert_type(await eventbus_bus.publish_many([SHELL] * 4), int)
        await eventbus_bus.flush(timeout=5.0)
        assert_type(await events.get(), BusEvent[ProcessEvent])
        assert_type(events.get_nowait(), BusEvent[ProcessEvent])
        assert_type(await events.get_many(1, timeout=5), list[BusEvent[ProcessEvent]])
        assert_type(await collect_events(events, 1), list[BusEvent[ProcessEvent]])
        assert_type(events.dropped, int)
        assert_type(events.gaps, int)
        assert_type(events.pending, int)
        assert_type(events.patterns, tuple[str, ...])
        assert_type(events.subscriber_id, str)
        with pytest.raises(WouldBlock):
            events.get_nowait()


async def test_what_publishing_and_asking_return(eventbus_broker: Broker, eventbus_bus: EventBus) -> None:
    publishing = eventbus_bus.publish(SHELL, CorrelationMetadata("c-1"), topic=topics.PROCESS_START)
    anything: Coroutine[Any, Any, None] = assert_type(publishing, Coroutine[None, None, None])
    await asyncio.create_task(anything)
    await asyncio.gather(eventbus_bus.publish(SHELL), eventbus_bus.flush())
    eventbus_bus.publish_nowait(SHELL, "c-1", topic="events.process.stop")
    assert_type(await eventbus_bus.statistics(), EventBusStatistics)
    assert_type(eventbus_bus.local_statistics(), dict[str, Any])
    assert_type(eventbus_bus.state, State)
    assert_type(eventbus_broker.statistics(), BrokerStatistics)
    assert_type(eventbus_broker.clients(), list[ClientInfo])
    assert_type(eventbus_broker.path, Path)
    assert_type(eventbus_broker.running, bool)
    assert_type(eventbus_broker.disconnect_client("00000000-0000-0000-0000-000000000000"), bool)


async def test_what_is_gathered_keeps_its_types(eventbus_broker: Broker, eventbus_bus: EventBus) -> None:
    """Of calls with different results a type checker once made Any, and found no mistake in what was done with them."""
    bus = eventbus_bus
    five, all_totals, clients = await asyncio.gather(bus.statistics(), bus.broker_statistics(), bus.clients())
    assert_type(five, EventBusStatistics)
    assert_type(all_totals, BrokerStatistics)
    assert_type(clients, list[ClientInfo])
    async with bus.subscribe(ProcessEvent) as events:
        sent, one, following, more = await asyncio.gather(
            bus.publish_many([SHELL] * 3), events.get(), anext(events), events.get_many(1)
        )
        assert_type(sent, int)
        assert_type(one, BusEvent[ProcessEvent])
        assert_type(following, BusEvent[ProcessEvent])
        assert_type(more, list[BusEvent[ProcessEvent]])
        async with asyncio.TaskGroup() as group:
            flushing = group.create_task(bus.flush())
            asking = group.create_task(bus.statistics())
        assert_type(flushing.result(), None)
        assert_type(asking.result(), EventBusStatistics)
    other = Broker(f"{eventbus_broker.path}.other")
    await other.start()
    kept, sent = await asyncio.gather(other.shutdown(), bus.publish_many([]))
    assert_type(kept, int)
    threaded = asyncio.run_coroutine_threadsafe(bus.statistics(), asyncio.get_running_loop())
    assert_type(await asyncio.wrap_future(threaded), EventBusStatistics)


async def test_state_changes(eventbus_broker: Broker) -> None:
    bus = await EventBus.from_broker(eventbus_broker)
    await bus.shutdown()
    async with contextlib.aclosing(bus.state_changes()) as changes:
        async for state in changes:
            assert_type(state, State)


def describe(event: CollectionEvent) -> str:
    match event:
        case ProcessEvent(pid=pid, name=name):
            assert_type(pid, int)
            return name
        case NetworkEvent() | FilesystemEvent() | PerformanceEvent():
            return "other"
        case TriggerRequest(priority=priority):
            return str(priority)
        case _:
            assert_never(event)


def test_the_union_is_exhaustive() -> None:
    assert describe(SHELL) == "sh"
    assert describe(TriggerRequest("r", "process", priority=9)) == "9"


def test_fields() -> None:
    event = ProcessEvent(7, "sh", start_time=datetime.now(UTC), metadata={"user": "root"})
    assert_type(event.start_time, Timestamp | None)
    assert_type(event.start_time_ns, int | None)
    assert_type(event.ppid, int | None)
    assert_type(event.command_line, str | None)
    assert_type(event.metadata, FrozenMap[str])
    assert_type(event.metadata | {"pod": "web"}, FrozenMap[str])
    assert_type({"pod": "web"} | event.metadata, FrozenMap[str])
    assert_type(event.metadata["user"], str)
    assert_type(dataclasses.replace(event, pid=8), ProcessEvent)
    assert_type(PerformanceEvent("cpu", 0.5, "ratio").value, float)
    assert_type(FilesystemEvent("/etc/passwd", "write").size, int | None)
    assert_type(TriggerRequest("r", "process").payload, bytes)
    correlation = CorrelationMetadata("root").create_child("child").with_stage("scan").with_tag("a", "b")
    assert_type(correlation, CorrelationMetadata)
    assert_type(correlation.parent_correlation_id, str | None)
    assert_type(correlation.created_at, Timestamp)
    assert_type(correlation.matches_pattern("chi*"), bool)


def test_timestamps() -> None:
    moment = Timestamp.from_ns(1_700_000_000_123_456_789)
    assert_type(moment, Timestamp)
    assert_type(moment.ns, int)
    assert_type(moment + timedelta(seconds=1), Timestamp)
    assert_type(moment - moment, timedelta)
    assert_type(Timestamp.of(datetime.now(UTC)), Timestamp)
    for other in (Timestamp.min, Timestamp.today(), Timestamp.fromtimestamp(0.5), Timestamp.max):
        assert_type(other, Timestamp)


def test_wire_gives_back_what_it_is_asked_for() -> None:
    assert_type(wire.encode(SHELL), bytes)
    assert_type(wire.decode(ProcessEvent, wire.encode(SHELL)), ProcessEvent)
    anything = wire.decode(CollectionEvent, wire.encode(SHELL, "postcard", type=CollectionEvent), "postcard")
    assert_type(anything, CollectionEvent)
    assert anything == SHELL


def test_the_rest() -> None:
    assert_type(TopicPattern("events.*").matches("events.process"), bool)
    assert_type(topics.task_topic("process", "one"), str)
    assert_type(os_text(b"sh"), str)
    assert_type(os_bytes("sh"), bytes)
    assert_type(BrokerConfig().max_frame, int)
    assert_type(ClientConfig().connect_timeout, float)
    assert CorrelationFilter(correlation_ids=["a"]).correlation_ids == ("a",)
    error: EventBusError = FrameTooLarge("too large", size=2, limit=1)
    assert isinstance(error, FrameTooLarge)
    assert_type(error.size, int | None)
    assert_type(error.accepted, int | None)
