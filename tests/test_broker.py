"""The broker's own calls: statistics, clients, operators' verbs, and its end."""

import asyncio
import contextlib
import os
import socket
import sys
import threading
import time
from typing import Any

import pytest

from daemoneye_eventbus import (
    AuthenticationFailed,
    Broker,
    BrokerAlreadyRunning,
    BrokerConfig,
    ClientConfig,
    ClientInfo,
    ConnectionClosed,
    ConnectionLost,
    EventBus,
    EventBusStatistics,
    SubscriptionClosed,
    SubscriptionRefused,
    TopicError,
)
from support import Pair, collect, eventually, open_bus, pids, process

SOLO = ClientConfig(pool=False)


async def test_statistics_are_exact(pair: Pair):
    start = await pair.pub.statistics()
    assert isinstance(start, EventBusStatistics)
    assert (start.messages_published, start.messages_delivered) == (0, 0)
    assert (start.active_subscribers, start.active_topics) == (0, 0)
    for number in range(5):
        await pair.pub.publish(process(number))
    await pair.pub.flush()
    async with (
        pair.sub.subscribe("events.#", "events.process.*") as one,
        pair.sub.subscribe("events.#") as two,
        pair.pub.subscribe("events.network.*") as other,
    ):
        for number in range(7):
            await pair.pub.publish(process(number))
        await collect(one, 7)
        await collect(two, 7)
        with pytest.raises(TopicError):
            await pair.pub.publish(process(1), topic="refused")
        now = await pair.sub.statistics()
        assert now.messages_published == 12
        assert now.messages_delivered == 14
        assert now.active_subscribers == 3
        assert now.active_topics == 3
        assert other.pending == 0
    end = await pair.pub.statistics()
    assert (end.messages_published, end.messages_delivered) == (12, 14)
    assert (end.active_subscribers, end.active_topics) == (0, 0)


async def test_uptime_is_in_seconds(path):
    made = time.monotonic()
    async with Broker(path), EventBus.connect(path) as bus:
        running = time.monotonic()
        for pause in (0, 1.1):
            await asyncio.sleep(pause)
            asked = time.monotonic()
            told = (await bus.statistics()).uptime_seconds
            assert int(asked - running) <= told <= time.monotonic() - made


async def test_local_statistics(pair: Pair):
    async with pair.sub.subscribe("events.#") as events:
        for number in range(9):
            await pair.sub.publish(process(number))
        await pair.sub.flush()
        await collect(events, 6)
        local = pair.sub.local_statistics()
        assert (local["published"], local["delivered"]) == (9, 6)
        assert sum(local["dropped"].values()) == 0
        assert (local["unconfirmed"], local["reconnects"], local["decode_errors"]) == (0, 0, 0)
        assert pair.pub.local_statistics()["published"] == 0


async def test_clients_lists_who_is_there(broker, path, program):
    assert broker.clients() == []
    async with EventBus.connect(path, config=ClientConfig(client="me", pool=False)) as bus:
        async with bus.subscribe("events.#"):
            spec = {
                "patterns": ["events.#"],
                "expect": 1,
                "config": {"client": "child", "dialect": "postcard"},
            }
            child = program("subscriber.py", path, spec)
            await child.answer()
            clients = {c.name: c for c in broker.clients()}
            assert set(clients) == {"me", "child"}
            for name, pid, dialect in (
                ("me", os.getpid(), "bincode"),
                ("child", child.pid, "postcard"),
            ):
                info = clients[name]
                assert isinstance(info, ClientInfo)
                assert (info.uid, info.pid, info.dialect) == (os.geteuid(), pid, dialect)
                assert info.id
            assert clients["me"].id != clients["child"].id
            await bus.publish(process(1))
            assert (await child.answer())["received"] == 1, "across dialects"
            child.finish()
            await eventually(lambda: len(broker.clients()) == 1, what="the child's end")
    await eventually(lambda: broker.clients() == [], what="clients")


async def test_a_bus_of_the_brokers_process_is_no_client_that_it_could_act_on(broker):
    """It is listed, and then there was said to be no such client."""
    async with EventBus.from_broker(broker) as bus:
        (own,) = broker.clients()
        assert own.peer == "local"
        with pytest.raises(SubscriptionRefused, match="a bus of the broker's own process and subscribes itself"):
            broker.subscribe_client(own.id, ["events.#"])
        assert not broker.disconnect_client(own.id)
        await bus.flush()
        assert bus.state == "connected"
    with pytest.raises(SubscriptionRefused, match="no such client"):
        broker.subscribe_client(own.id, ["events.#"])


async def test_a_disconnected_client_does_not_come_back(broker, path):
    bus = await EventBus.connect(path, config=ClientConfig(client="out", pool=False))
    events = await bus.subscribe("events.#")
    stays = await EventBus.connect(path, config=ClientConfig(client="in", pool=False))
    waiting = asyncio.create_task(events.get())
    (victim,) = [c for c in broker.clients() if c.name == "out"]
    broker.disconnect_client(victim.id)
    done, _ = await asyncio.wait([waiting], timeout=20)
    assert done
    assert isinstance(waiting.exception(), ConnectionLost)
    await eventually(lambda: bus.state == "closed", what="state")
    with pytest.raises(ConnectionLost):
        await bus.publish(process(1))
    await asyncio.sleep(0.2)
    assert [c.name for c in broker.clients()] == ["in"]
    await stays.flush()
    await stays.shutdown()
    await bus.shutdown()


async def test_shutdown_drains_to_its_readers(path):
    """What was accepted is delivered, although nobody was reading when the broker was stopped."""
    broker = Broker(path)
    await broker.start()
    bus = await EventBus.connect(path, config=ClientConfig(pool=False, reconnect=False))
    events = await bus.subscribe("events.#")
    for number in range(3000):
        await bus.publish(process(number))
    await bus.flush()
    begin = time.monotonic()
    stopping = asyncio.create_task(broker.shutdown())
    assert pids(await collect(events, 3000)) == list(range(3000))
    with pytest.raises(ConnectionLost):
        await events.get(timeout=5)
    await stopping
    assert time.monotonic() - begin < 3
    assert not os.path.exists(path)
    await bus.shutdown()


async def test_what_a_full_subscription_that_blocks_was_sent_outlives_the_broker(path):
    broker = Broker(path)
    await broker.start()
    config = ClientConfig(pool=False, reconnect=False)
    async with EventBus.connect(path, config=config) as bus:
        async with bus.subscribe("events.#", overflow="block", queue_messages=10) as events:
            # So few that the kernel takes all of them, however small the writes are that they come in.
            for number in range(100):
                await bus.publish(process(number))
            await bus.flush()
            await broker.shutdown()
            assert broker.statistics().messages_delivered == 100
            await eventually(lambda: events.pending == 100, what="the rest")
            assert pids(await collect(events, 100)) == list(range(100))
            with pytest.raises(ConnectionLost, match="goodbye"):
                await events.get(timeout=5)
            assert (events.dropped, events.gaps) == (0, 0)


async def test_shutdown_has_a_deadline(path, program):
    broker = Broker(path)
    await broker.start()
    reader = program("subscriber.py", path, {"patterns": ["#"], "expect": 1 << 30})
    await reader.answer()
    reader.freeze()
    async with EventBus.from_broker(broker) as bus:
        for number in range(20_000):
            await bus.publish(process(number))
        begin = time.monotonic()
        await broker.shutdown(timeout=0.5)
        assert 0.3 < time.monotonic() - begin < 2
    assert not broker.running


async def test_in_process_iteration_ends_with_the_broker(path):
    broker = Broker(path)
    await broker.start()
    bus = await EventBus.from_broker(broker)
    events = await bus.subscribe("events.#")
    for number in range(3):
        await bus.publish(process(number))
    seen = []

    async def read():
        async for item in events:
            seen.append(item.event.pid)

    reader = asyncio.create_task(read())
    await broker.shutdown()
    await asyncio.wait_for(reader, 20)
    assert seen == [0, 1, 2]
    with pytest.raises((ConnectionClosed, ConnectionLost)):
        await bus.publish(process(4))
    # It said to subscribe again, which this bus refuses.
    ended = "ended with its broker; subscribe on a bus of the next one"
    for read_once in (events.get, lambda: events.get_many(5)):
        with pytest.raises(SubscriptionClosed, match=ended) as caught:
            await read_once()
        assert caught.value.subscriber_id == events.subscriber_id
    with pytest.raises(SubscriptionClosed, match=ended):
        events.get_nowait()
    assert bus.state == "closed"
    await bus.flush()
    assert (await bus.statistics()).messages_delivered == 3
    await bus.shutdown()
    with pytest.raises(SubscriptionClosed, match="is closed; subscribe again"):
        await events.get()


async def test_a_stopped_broker_cannot_be_started_again(path):
    broker = Broker(path)
    await broker.start()
    await broker.shutdown()
    with pytest.raises(Exception) as caught:
        await broker.start()
    assert not isinstance(caught.value, TimeoutError)
    async with Broker(path) as other:
        assert other.running


@pytest.mark.parametrize(
    ("then", "said"),
    [
        (lambda broker: broker.start(), "this broker has been started already; start each broker once"),
        (lambda broker: _stopped(broker), "a broker that was shut down cannot be started again; make a new one"),
    ],
    ids=["twice", "stopped"],
)
async def test_a_second_start_is_refused_with_the_reason(path, then, said):
    async with Broker(path) as broker:
        with pytest.raises(ConnectionClosed) as caught:
            await then(broker)
    assert str(caught.value) == said


async def test_a_start_beside_one_that_fails(path):
    """It was told that the broker had been started already."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        broker = Broker(path)
        first, second = await asyncio.gather(broker.start(), broker.start(), return_exceptions=True)
    assert isinstance(first, BrokerAlreadyRunning)
    assert isinstance(second, ConnectionClosed)
    assert str(second) == "this broker is being started; wait for the end of that start"


async def _stopped(broker: Broker) -> None:
    await broker.shutdown()
    await broker.start()


async def test_a_bus_says_where_its_broker_stands(path):
    broker = Broker(path)

    async def refused(call: Any, said: str) -> None:
        with pytest.raises(ConnectionClosed) as caught:
            await call
        assert str(caught.value) == said

    await refused(EventBus.from_broker(broker), "the broker is not running yet; start it first")
    await broker.start()
    bus, closed = await EventBus.from_broker(broker), await EventBus.from_broker(broker)
    await closed.shutdown()
    await broker.shutdown()
    for call in (bus.publish(process(1)), bus.subscribe("events.#"), EventBus.from_broker(broker)):
        await refused(call, "the broker was shut down; start a new one")
    for call in (closed.publish(process(1)), closed.subscribe("events.#"), closed.statistics()):
        await refused(call, "this bus was shut down; make a new one")
    await bus.shutdown()


async def test_exactly_one_of_path_and_instance(tmp_path):
    with pytest.raises(ValueError):
        Broker()
    with pytest.raises(ValueError):
        Broker("/tmp/x.sock", instance="x")
    with pytest.raises(TypeError, match="instance: expected str, got int"):
        Broker(instance=5)
    with pytest.raises(TypeError, match="instance: expected str, got int"):
        await EventBus.connect(instance=5)
    name = f"test-{os.getpid()}"
    assert str(Broker(instance=name).path) == f"/tmp/daemoneye-{name}.sock"
    async with Broker(instance=name) as broker:
        async with EventBus.connect(instance=name, config=SOLO) as bus:
            await bus.flush()
        assert os.path.exists(broker.path)
    assert not os.path.exists(broker.path)
    for wrong in ("", "a/b", "../x", "a\0b", "\ud800"):
        with pytest.raises(ValueError, match="instance"):
            async with Broker(instance=wrong):
                pass


async def test_the_environment_names_the_broker(broker, path, monkeypatch):
    monkeypatch.setenv("DAEMONEYE_BROKER_SOCKET", path)
    async with EventBus.connect(config=SOLO) as bus:
        await bus.flush()


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_frame": 0},
        {"max_connections": 0},
        {"handshake_timeout": -1.0},
        {"overflow": "drop_everything"},
        {"dialect": "morse"},
        {"queue_messages": 0},
        {"allowed_uids": (65534,)},
        {"original_auth": True},
        {"ping_interval": float("nan")},
        {"max_topic_depth": 0},
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(wrong):
    with pytest.raises(ValueError) as caught:
        BrokerConfig(**wrong)
    assert next(iter(wrong)) in str(caught.value), "names the field"


def test_a_token_is_never_shown():
    token = b"5ecret" * 8
    for config in (BrokerConfig(token=token), ClientConfig(token=token)):
        assert "5ecret" not in repr(config)
        assert "5ecret" not in str(config)


async def test_token_on_both_sides(path):
    token = b"5ecret" * 8
    async with Broker(path, config=BrokerConfig(token=token)):
        async with EventBus.connect(path, config=ClientConfig(token=token, pool=False)) as bus:
            async with bus.subscribe("events.#") as events:
                await bus.publish(process(1))
                assert pids(await collect(events, 1)) == [1]
        for wrong, why in ((b"x" * 48, "did not take our token"), (None, "set ClientConfig.token")):
            # Final: were it retried until the time-out, the watchdog would come first.
            with pytest.raises(AuthenticationFailed, match=why) as caught:
                await EventBus.connect(path, config=ClientConfig(token=wrong, pool=False, connect_timeout=600.0))
            assert "5ecret" not in str(caught.value)


async def test_a_broker_that_asks_for_no_token_is_not_believed_to_hold_it(broker, path):
    with pytest.raises(AuthenticationFailed, match="set BrokerConfig.token too"):
        await EventBus.connect(path, config=ClientConfig(token=b"5ecret" * 8, pool=False))


async def test_two_dialects_understand_each_other(broker, path):
    one = await open_bus("socket", broker, path, dialect="postcard")
    two = await open_bus("socket", broker, path, dialect="bincode")
    async with one.subscribe("events.#") as first, two.subscribe("events.#") as second:
        event = process(70_000, metadata={"k": "v"}, ppid=300)
        await one.publish(event)
        await two.publish(event)
        for inbox in (first, second):
            assert [item.event for item in await collect(inbox, 2)] == [event, event]
    await one.shutdown()
    await two.shutdown()


async def test_a_start_that_is_cancelled_leaves_no_broker(path):
    """It once went on to listen, unseen by its caller, and kept the path from other brokers."""
    broker = Broker(path)
    starting = asyncio.create_task(broker.start())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    # Time enough to begin to listen.
    await asyncio.sleep(0.3)
    assert not broker.running
    assert not os.path.exists(path)
    async with Broker(path) as other:
        second = asyncio.create_task(other.start())
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises((asyncio.CancelledError, ConnectionClosed)):
            await second
        assert other.running, "a start too many, cancelled, ended it"


async def test_only_a_broker_that_runs_is_reachable(path):
    broker = Broker(path)
    assert not broker.reachable
    async with broker:
        assert broker.reachable
    assert not broker.reachable


async def test_two_threads_that_shut_down_one_broker_at_once(path):
    """Both notify the observers; one thread once raised `KeyError` where the other had removed one."""
    broker = Broker(path)
    await broker.start()
    bus = await EventBus.from_broker(broker)
    met = threading.Barrier(2)

    def meet(frame, event, _argument):
        if frame.f_code.co_name != "tell_all":
            return None
        if event == "line":
            # As where another thread has its turn between any two lines.
            with contextlib.suppress(threading.BrokenBarrierError):
                met.wait(0.2)
        return meet

    def shut_down():
        sys.settrace(meet)
        try:
            asyncio.run(broker.shutdown())
        finally:
            sys.settrace(None)

    await asyncio.gather(*(asyncio.to_thread(shut_down) for _ in range(2)))
    await eventually(lambda: bus.state == "closed", what="closed")
    await bus.shutdown()
