"""Connecting before the broker is there, losing it, reconnecting, and exact counters for all of that."""

import asyncio
import contextlib
import os
import socket
import threading
import time

import pytest

from daemoneye_eventbus import (
    Broker,
    BrokerConfig,
    ClientConfig,
    ConnectionLost,
    ConnectTimeout,
    EventBus,
    EventBusError,
    FrameTooLarge,
    PermissionRefused,
    ProtocolError,
)
from raw import Raw, info
from support import collect, eventually, pids, process

FAST = {"reconnect_initial": 0.02, "reconnect_max": 0.2, "pool": False}


async def start(program, path, **config):
    broker = program("broker.py", path, config)
    await broker.answer()
    return broker


async def test_kill_and_restart(path, program):
    """kill -9, a new broker: subscribed again, one gap said, no event twice."""
    broker = await start(program, path)
    sub = await EventBus.connect(path, config=ClientConfig(**FAST))
    pub = await EventBus.connect(path, config=ClientConfig(**FAST))
    events = await sub.subscribe("events.process.*")
    one_more = await sub.subscribe("events.network.*")
    changes = []

    async def watch():
        async for change in sub.state_changes():
            changes.append(change)

    watcher = asyncio.create_task(watch())
    for number in range(100):
        await pub.publish(process(number))
    assert pids(await collect(events, 100)) == list(range(100))
    await pub.flush()
    broker.kill()
    await eventually(lambda: sub.state == "reconnecting", what="state")
    await eventually(lambda: pub.state == "reconnecting", what="state")
    waiting = asyncio.create_task(events.get(timeout=20))
    again = await start(program, path)
    await eventually(lambda: sub.state == pub.state == "connected", what="states")
    assert sub.local_statistics()["reconnects"] == 1
    for number in range(100, 200):
        await pub.publish(process(number))
    got = [await waiting, *(await collect(events, 99))]
    assert pids(got) == list(range(100, 200))
    assert (events.gaps, one_more.gaps) == (1, 1)
    assert (await sub.statistics()).active_subscribers == 2
    await pub.flush()
    assert pub.local_statistics()["unconfirmed"] == 0
    await sub.shutdown()
    await asyncio.wait_for(watcher, 20)
    assert changes[-3:] == ["reconnecting", "connected", "closed"]
    await pub.shutdown()
    again.finish()


async def test_what_the_next_broker_takes_no_more_is_dropped_and_counted_at_once(path, caplog):
    """Each such event ended a new connection, and took along what was written behind it."""
    large = 200_000
    async with Broker(path):
        pub = await EventBus.connect(path, config=ClientConfig(**FAST))
    await eventually(lambda: pub.state == "reconnecting", what="state")
    for number in range(20):
        await pub.publish(process(number, command_line="x" * large if number % 2 else "y"))
    assert pub.local_statistics()["unsent"] == 20
    async with Broker(path, config=BrokerConfig(max_frame=large // 2)) as broker:
        await pub.flush()
        assert broker.statistics().messages_published == 10
        assert sum(broker.statistics().refused.values()) == 0
        mine = pub.local_statistics()
        assert (mine["refused"], mine["reconnects"], mine["unsent"], mine["unconfirmed"]) == (10, 1, 0, 0)
        with pytest.raises(FrameTooLarge):
            await pub.publish(process(20, command_line="x" * large))
        await pub.shutdown()
    (said,) = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert f"above the limit of {large // 2} bytes" in said


async def test_every_publish_is_sent_once_or_counted(path, program):
    """Killed with frames at every stage: new broker's count + losses = what was accepted."""
    broker = await start(program, path)
    pub = await EventBus.connect(path, config=ClientConfig(**FAST, send_buffer_bytes=8 << 20))
    await pub.flush()
    broker.freeze()
    for number in range(2000):
        pub.publish_nowait(process(number, command_line="x" * 1000))
    await asyncio.sleep(0.1)
    broker.kill()
    await eventually(lambda: pub.state == "reconnecting", what="state")
    again = await start(program, path)
    await pub.flush()
    local = pub.local_statistics()
    arrived = (await pub.statistics()).messages_published
    assert local["published"] == 2000
    assert 0 < arrived < 2000
    assert local["unconfirmed"] > 0
    assert arrived + local["unconfirmed"] + sum(local["dropped"].values()) == 2000
    await pub.shutdown()
    again.finish()


async def test_publish_waits_for_the_broker_to_come_back(path, program):
    broker = await start(program, path)
    config = ClientConfig(**FAST, send_buffer_bytes=20_000, publish_timeout=20.0)
    async with EventBus.connect(path, config=config) as bus:
        broker.kill()
        await eventually(lambda: bus.state == "reconnecting", what="state")

        async def publish():
            for number in range(200):
                await bus.publish(process(number, command_line="x" * 1000))

        task = asyncio.create_task(publish())
        done, _ = await asyncio.wait([task], timeout=0.2)
        assert not done, "more than the buffer holds"
        again = await start(program, path)
        await asyncio.wait_for(task, 10)
        await bus.flush()
        assert (await bus.statistics()).messages_published == 200
    again.finish()


async def test_connect_waits_for_the_broker(path, program):
    async def dial(n):
        return await EventBus.connect(path, config=ClientConfig(pool=False, connect_timeout=15.0))

    tasks = [asyncio.create_task(dial(n)) for n in range(5)]
    await asyncio.sleep(0.3)
    assert not any(task.done() for task in tasks)
    broker = await start(program, path)
    buses = await asyncio.wait_for(asyncio.gather(*tasks), 8)
    for bus in buses:
        await bus.flush()
        await bus.shutdown()
    broker.finish()


async def test_connect_timeout_names_path_and_cause(path):
    begin = time.monotonic()
    with pytest.raises(ConnectTimeout) as caught:
        await EventBus.connect(path, config=ClientConfig(connect_timeout=0.3))
    assert 0.25 < time.monotonic() - begin < 1.5
    assert isinstance(caught.value, TimeoutError)
    assert path in str(caught.value)
    assert "No such file" in str(caught.value)


async def test_connect_to_a_silent_listener_names_the_option(folder):
    """Something listens but never says INFO: an original broker, perhaps."""
    import socket

    path = str(folder / "silent.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with pytest.raises(ConnectTimeout) as caught:
            await EventBus.connect(path, config=ClientConfig(connect_timeout=1.5))
    assert "original" in str(caught.value)


async def test_busy_is_retried_then_said(path):
    async with Broker(path, config=BrokerConfig(max_connections=1)):
        first = await EventBus.connect(path, config=ClientConfig(pool=False))
        with pytest.raises(ConnectTimeout) as caught:
            await EventBus.connect(path, config=ClientConfig(pool=False, connect_timeout=1.5))
        assert "busy" in str(caught.value).lower()
        assert "the broker is busy" in caught.value.cause
        second = asyncio.create_task(_connect(path, ClientConfig(pool=False, connect_timeout=10.0)))
        await asyncio.sleep(0.2)
        assert not second.done()
        await first.shutdown()
        await (await asyncio.wait_for(second, 8)).shutdown()


async def _connect(path, config):
    return await EventBus.connect(path, config=config)


async def test_without_reconnect_the_loss_is_final(path, program):
    broker = await start(program, path)
    bus = await EventBus.connect(path, config=ClientConfig(pool=False, reconnect=False))
    events = await bus.subscribe("events.#")
    for number in range(50):
        await bus.publish(process(number))
    await bus.flush()
    broker.kill()
    await eventually(lambda: bus.state == "closed", what="state")
    assert pids(await collect(events, 50)) == list(range(50)), "what had come is still delivered"
    with pytest.raises(ConnectionLost):
        await events.get(timeout=5)
    with pytest.raises(ConnectionLost):
        async for _ in events:
            pass
    with pytest.raises(ConnectionLost):
        await bus.publish(process(1))
    await bus.shutdown()


@pytest.mark.parametrize("ends", ["shutdown", "kill"])
async def test_waiting_calls_learn_of_the_loss(path, program, ends):
    broker = await start(program, path)
    bus = await EventBus.connect(path, config=ClientConfig(pool=False, reconnect=False))
    events = await bus.subscribe("events.#")
    tasks = [asyncio.ensure_future(w) for w in (events.get(), events.get_many(3))]
    await asyncio.sleep(0)
    if ends == "kill":
        broker.kill()
    else:
        broker.tell(do="shutdown")
    done, _ = await asyncio.wait(tasks, timeout=5)
    assert len(done) == 2
    assert all(isinstance(task.exception(), ConnectionLost) for task in tasks)
    await bus.shutdown()


async def test_a_restarted_broker_is_found_after_a_graceful_stop(path, program):
    """BYE is an interruption like an end of file: redial, gap said."""
    broker = await start(program, path)
    async with EventBus.connect(path, config=ClientConfig(**FAST)) as bus, bus.subscribe("events.#") as events:
        await asyncio.to_thread(broker.ask, do="shutdown")
        broker.finish()
        assert not os.path.exists(path)
        again = await start(program, path)
        await eventually(lambda: bus.state == "connected", what="state")
        await bus.publish(process(1))
        assert pids(await collect(events, 1)) == [1]
        assert events.gaps == 1
    again.finish()


@pytest.mark.limit(60)
async def test_a_crowd_comes_back(path, program):
    broker = await start(program, path)
    crowd = [await EventBus.connect(path, config=ClientConfig(pool=False)) for _ in range(40)]
    inboxes = [await bus.subscribe("events.#") for bus in crowd]
    for round_number in range(1, 3):
        broker.kill()
        broker = await start(program, path)
        await eventually(
            lambda: all(i.gaps == round_number for i in inboxes) and all(b.state == "connected" for b in crowd),
            timeout=6,
            what=f"round {round_number}",
        )
        await crowd[0].publish(process(round_number))
        for inbox in inboxes:
            assert pids(await collect(inbox, 1)) == [round_number]
    await asyncio.gather(*(bus.shutdown() for bus in crowd))
    broker.finish()


@pytest.mark.limit(90)
async def test_more_subscriptions_than_answers_fit_into_a_socket_are_made_again(path, program):
    """They were all asked for before an answer was read, and a broker with too many answers unread reads no further."""
    topics = [f"events.process.{number}" for number in range(12_000)]
    many = len(topics)
    broker = await start(program, path, max_patterns_per_client=many)
    async with EventBus.connect(path, config=ClientConfig(**FAST)) as bus:
        held = await asyncio.gather(*map(bus.subscribe, topics))
        broker.kill()
        await eventually(lambda: bus.state == "reconnecting", what="state")
        again = await start(program, path, max_patterns_per_client=many)
        await eventually(lambda: bus.state == "connected", what="state")
        assert (await bus.statistics()).active_subscribers == many
        assert {events.gaps for events in held} == {1}
    again.finish()


@pytest.mark.parametrize("noticed", ["before", "at once", "meanwhile"])
async def test_a_lossless_bus_does_not_wait_for_a_broker_that_is_gone(path, program, caplog, noticed):
    """Whenever it finds out, shutting down ends long before `publish_timeout`, and says what was not sent."""
    broker = await start(program, path)
    config = ClientConfig(congestion="block", publish_timeout=600, **FAST)
    bus = await EventBus.connect(path, config=config)
    broker.freeze()
    # More than the kernel takes.
    published = await bus.publish_many(process(number, command_line="x" * 1000) for number in range(3000))
    if noticed == "meanwhile":
        leaving = asyncio.create_task(bus.shutdown())
        await asyncio.sleep(0.3)
        assert not leaving.done(), "a broker that is slow is waited for"
        broker.kill()
    else:
        broker.kill()
        if noticed == "before":
            await eventually(lambda: bus.state == "reconnecting", what="state")
        leaving = asyncio.create_task(bus.shutdown())
    await asyncio.wait_for(leaving, 10)
    assert bus.state == "closed"
    statistics = bus.local_statistics()
    assert statistics["unsent"] > 0
    assert statistics["unsent"] + statistics["unconfirmed"] == published == statistics["published"]
    assert f"{statistics['unsent']} published messages were not sent" in caplog.text
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()], "nothing is left behind"


async def test_a_bus_that_closes_at_once_is_confirmed_all_the_same(path, caplog):
    """Also where the loop is late, and hears that it is connected after it has asked."""
    over = threading.Event()
    rival = threading.Thread(target=lambda: [None for _ in iter(over.is_set, True)], daemon=True)
    async with Broker(path):
        rival.start()
        for pid in range(50):
            bus = await EventBus.connect(path, config=ClientConfig(**FAST))
            await bus.publish(process(pid))
            await bus.shutdown()
            assert bus.local_statistics()["unconfirmed"] == 0
        over.set()
        await asyncio.to_thread(rival.join)
    assert "confirmation" not in caplog.text


async def test_shutting_down_can_be_cancelled(path, program):
    """Whoever waits for a slow broker's confirmation can stop waiting, and the bus is closed all the same."""
    broker = await start(program, path)
    bus = await EventBus.connect(path, config=ClientConfig(congestion="block", publish_timeout=600, **FAST))
    broker.freeze()
    await bus.publish(process(1))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(bus.shutdown(), 0.2)
    assert bus.state == "closed"
    await eventually(lambda: asyncio.all_tasks() == {asyncio.current_task()}, what="nothing left behind")
    broker.kill()


async def test_a_connection_that_the_client_refuses_is_no_reconnect(path):
    """The broker that comes back does not know the token."""
    config = ClientConfig(token=b"s" * 32, **FAST)
    async with Broker(path, config=BrokerConfig(token=b"s" * 32)):
        bus = await EventBus.connect(path, config=config)
    async with Broker(path):
        await eventually(lambda: bus.state == "closed", what="state")
    assert bus.local_statistics()["reconnects"] == 0
    await bus.shutdown()


ODD = "gone\r\nERROR forged \x1b[2J\u202e" + "x" * 5000


async def told_last(path, verb, fields, *, closes=False):
    """What a reader is told by a broker that says this, and then closes or waits for the other end to do that."""

    def serve(listener):
        with contextlib.closing(Raw.of(listener.accept()[0])) as peer:
            peer.expect("CONNECT")
            peer.say("INFO", **info())
            peer.say("OK", id=peer.expect("SUB")["id"])
            peer.say(verb, **fields)
            while not closes and peer.receive() is not None:
                pass

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        serving = asyncio.create_task(asyncio.to_thread(serve, listener))
        bus = await EventBus.connect(path, config=ClientConfig(reconnect=False, pool=False))
        events = await bus.subscribe("events.#")
        with pytest.raises(EventBusError) as caught:
            await events.get(timeout=10)
        await bus.shutdown()
        await serving
    return caught.value


@pytest.mark.parametrize(
    ("verb", "fields", "errors"),
    [
        ("BYE", {"reason": ODD}, ConnectionLost),
        ("BYE", {}, ConnectionLost),
        ("ERR", {"code": "disconnected_by_operator", "message": ODD}, ConnectionLost),
        ("ERR", {"code": "not_permitted", "message": ODD}, PermissionRefused),
        ("ERR", {"code": "unsupported_version", "message": ODD}, ProtocolError),
        ("DROPPED", {"subscriptions": {}, "reason": {ODD: 1}}, ConnectionLost),
    ],
    ids=["bye", "bare bye", "operator", "permission", "version", "bad text"],
)
async def test_what_a_broker_says_last_is_one_short_line(path, verb, fields, errors):
    error = await told_last(path, verb, fields)
    assert isinstance(error, errors | ProtocolError)
    for text in (str(error), getattr(error, "reason", "")):
        assert text.isprintable(), repr(text[:100])
        assert len(text) < 1200
    if ODD in fields.values():
        assert "gone\\r\\nERROR forged \\u{1b}[2J\\u{202e}xxx" in str(error)


@pytest.mark.parametrize("closes", [True, False])
@pytest.mark.parametrize("code", ["protocol", "decode", "frame_timeout", "ping_timeout", "slow_consumer", "shutdown"])
async def test_the_last_word_of_a_broker_is_what_is_told(path, code, closes):
    """And not the end of the stream behind it, which says nothing."""
    error = await told_last(path, "ERR", {"code": code, "message": "as it was said"}, closes=closes)
    assert type(error) is ConnectionLost
    assert "as it was said" in str(error)


@pytest.mark.parametrize("code", ["unknown_verb", "of_a_newer_broker"])
async def test_a_word_that_ends_nothing_is_no_reason_for_the_end(path, code):
    error = await told_last(path, "ERR", {"code": code, "message": "as it was said"}, closes=True)
    assert str(error) == "the connection to the broker was lost: the broker closed the connection"
