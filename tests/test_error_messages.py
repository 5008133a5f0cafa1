"""Messages of errors: what was wrong, the value, and what to do about it; no advice that does not apply."""

from __future__ import annotations

import asyncio
import functools
import inspect
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from daemoneye_eventbus import (
    Broker,
    BrokerConfig,
    BusEvent,
    ClientConfig,
    ConnectTimeout,
    ControlMessage,
    EventBus,
    EventSubscription,
    ProcessEvent,
    PublishTimeout,
    RateLimit,
    SubscriptionClosed,
    SubscriptionRefused,
    Timestamp,
    TransportError,
    WouldBlock,
)
from support import make_pair, process

if TYPE_CHECKING:
    from collections.abc import Callable

BRIEF = ClientConfig(pool=False, connect_timeout=1.5)


async def error_text(error: type[BaseException], call: Callable[[], Any]) -> str:
    with pytest.raises(error) as caught:
        made = call()
        if inspect.isawaitable(made):
            await asyncio.wait_for(made, 10)
    return str(caught.value)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (BrokerConfig(max_connections=1), "all connections of max_connections are in use; close one, or raise it"),
        (
            BrokerConfig(rate_limit=RateLimit(per="uid", connects_per_second=0.01, burst=1.0)),
            "connects more often than rate_limit allows; try again later",
        ),
    ],
    ids=["full", "rate"],
)
async def test_connect_timeout_at_a_full_broker_says_that_it_is_busy(path, config, why):
    async with Broker(path, config=config), EventBus.connect(path, config=ClientConfig(pool=False)):
        text = await error_text(ConnectTimeout, lambda: EventBus.connect(path, config=BRIEF))
    assert text.startswith(f"no connection to the broker at {path} within 1.5s; last cause: the broker is busy: ")
    assert text.endswith(why), "and no advice that has nothing to do with it"


async def test_connect_timeout_without_a_broker_says_so(path):
    text = await error_text(ConnectTimeout, lambda: EventBus.connect(path, config=BRIEF))
    assert text.startswith(f"no broker answered at {path} within 1.5s; start one there, or check the path; last cause")


async def test_errors_for_lack_of_room_name_the_call_and_the_remedy(kind, path):
    full = {"congestion": "block", "publish_timeout": 0.05, "send_buffer_bytes": 20_000}
    async with (
        make_pair(kind, path, broker={"stall_timeout": 30.0}, pub=full) as pair,
        pair.sub.subscribe(
            "events.#", "health.#", queue_messages=1, queue_bytes=1000, overflow="block", include_control=True
        ),
    ):

        async def publish_on(publish: Callable[[], Any]) -> None:
            while True:
                await publish()

        for name, publish in (
            ("publish", lambda: pair.pub.publish(process(1, command_line="x" * 10_000))),
            ("publish_many", lambda: pair.pub.publish_many([process(1, command_line="x" * 10_000)])),
            ("publish_control", lambda: pair.pub.publish_control("health.x", b"x" * 10_000)),
        ):
            text = await error_text(PublishTimeout, functools.partial(publish_on, publish))
            assert text.startswith(f"{name}: no room for 0.05 s (publish_timeout): ")
            assert "takes less than is published, or nothing, or this event loop was blocked; " in text
            assert text.endswith("try again later, or give more time")
        text = await error_text(WouldBlock, lambda: pair.pub.publish_nowait(process(1, command_line="x" * 10_000)))
        assert text == "publish_nowait: there is no room now; await publish(), which waits for some, or try again later"


async def test_errors_of_a_publish_that_waited_name_the_call(path):
    block = {"congestion": "block"}
    async with (
        make_pair("inproc", path, pub=block) as pair,
        pair.sub.subscribe("events.#", queue_messages=1, overflow="block") as events,
    ):
        await pair.pub.publish(process(1))
        before = asyncio.create_task(pair.pub.publish(process(2)))
        await asyncio.sleep(0)
        calls = {
            "publish.event": pair.pub.publish("event"),
            "publish_many.events": pair.pub.publish_many(["event"]),
            "publish_control.topic": pair.pub.publish_control(5, b""),
            "publish_control.payload": pair.pub.publish_control("control.x", "text"),
            "publish_control.correlation": pair.pub.publish_control("control.x", b"", 5),
        }
        waiting = [asyncio.create_task(error_text(TypeError, lambda call=call: call)) for call in calls.values()]
        await asyncio.sleep(0.05)
        assert (await events.get(5)).event.pid == 1
        await before
        texts = await asyncio.gather(*waiting)
        assert [text.partition(":")[0] for text in texts] == list(calls)


async def test_a_second_await_names_the_call(pair):
    async with pair.sub.subscribe("events.#") as events:
        for name, make in (
            ("publish", lambda: pair.pub.publish(process(1))),
            ("publish_control", lambda: pair.pub.publish_control("control.x", b"")),
            ("get", events.get),
            ("__anext__", events.__anext__),
        ):
            if name == "__anext__":
                await pair.pub.publish(process(2))
            once = make()
            await once
            text = await error_text(RuntimeError, lambda once=once: once)
            assert text == f"{name}() was awaited already; call it again for another"
        once = events.get()
        first = asyncio.ensure_future(once)
        await asyncio.sleep(0)
        text = await error_text(RuntimeError, lambda: once)
        assert text == "get() is being awaited already; call it again for another"
        first.cancel()


async def test_a_listener_that_is_not_open_is_named():
    text = await error_text(TransportError, lambda: Broker.from_listener(9_999))
    assert text.startswith("copy the listener's descriptor 9999: Bad file descriptor")


@pytest.mark.parametrize(
    ("error", "call", "text"),
    [
        (ValueError, lambda: Timestamp(2026, 1, 1, nanosecond=1000), "nanosecond: must be between 0 and 999, got 1000"),
        (TypeError, lambda: Timestamp(2026, 1, 1, nanosecond="5"), "nanosecond: expected int, got str"),
        (TypeError, lambda: Timestamp.of(5), "value: expected datetime, got int"),
        (ValueError, lambda: Timestamp.of(datetime(2026, 1, 1)), "value: a naive datetime "),
        (OverflowError, lambda: Timestamp.from_ns(10**21), "ns: lies beyond the years 1 to 9999"),
        (OverflowError, lambda: Timestamp.from_ns(-(10**40)), "ns: lies beyond the years 1 to 9999"),
        (
            ValueError,
            lambda: BrokerConfig(ping_interval=20, ping_timeout=10),
            "BrokerConfig.ping_timeout: must be above ping_interval (20 s), got 10; raise it",
        ),
        (
            ValueError,
            lambda: BrokerConfig(original_auth=True),
            "BrokerConfig.original_auth: needs a token; set token, or turn it off",
        ),
        (
            ValueError,
            lambda: ClientConfig(client="a\nb"),
            "ClientConfig.client: must be printable text of at most 256 bytes, got 'a\\nb'",
        ),
        (
            ValueError,
            lambda: ClientConfig(reconnect_initial=2, reconnect_max=1),
            "ClientConfig.reconnect_max: must be at least reconnect_initial (2 s), got 1",
        ),
    ],
)
async def test_a_refused_value_is_named_with_its_limit(error, call, text):
    assert (await error_text(error, call)).startswith(text)


async def test_an_unknown_client_id_says_where_to_find_ids(broker):
    for call in (lambda: broker.disconnect_client("zz"), lambda: broker.subscribe_client("zz", [])):
        text = await error_text(ValueError, call)
        assert text.endswith("is not the id of a client; take one from clients()")


@pytest.mark.parametrize("cls", [ControlMessage, BusEvent, int])
async def test_a_class_that_is_no_event_type_is_named(path, cls):
    """It is a type, and an argument of its own, which was all that the error asked for."""
    async with Broker(path) as broker, EventBus.from_broker(broker) as bus:
        text = await error_text(TypeError, lambda: bus.subscribe(ProcessEvent, cls))
    assert text.startswith(f"subscribe: the class {cls.__name__} is none of the event types ProcessEvent, ")
    assert text.endswith('give a pattern such as "control.#" and include_control=True')


async def test_no_message_repeats_all_of_a_long_value(path):
    """Processes choose their names, and errors go to logs."""
    long = "x" * 1_000_000
    start = repr(long[:64])
    text = await error_text(TypeError, lambda: ProcessEvent(1, "sh", metadata={long: 1}))
    assert text == f"ProcessEvent.metadata[{start}...]: expected str, got int"
    text = await error_text(ValueError, lambda: ProcessEvent(1, "sh", metadata={"ü" * 65: "\udc80"}))
    assert text.startswith(f"ProcessEvent.metadata[{'ü' * 64!r}...]: holds surrogates")
    async with Broker(path) as broker, EventBus.from_broker(broker) as bus, bus.subscribe("events.#") as events:
        with pytest.raises(SubscriptionClosed) as caught:
            await bus.unsubscribe(long)
        assert str(caught.value) == f"no subscription {start}... is open on this bus"
        assert caught.value.subscriber_id == long
        one = EventSubscription("y" * 256, topic_patterns=["events.#"])
        async with bus.subscribe(one):
            text = await error_text(SubscriptionRefused, lambda: bus.subscribe(one))
        assert f"subscriber_id {'y' * 64!r}... is open on this bus already" in text
        assert await error_text(ValueError, lambda: events.get_many(-(10**5000))) == "max: must be at least 1"
        assert await error_text(ValueError, lambda: events.get_many(0)) == "max: must be at least 1, got 0"
