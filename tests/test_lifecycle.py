"""Waiting, cancelling and closing: every public async method, at its most awkward moment."""

import asyncio
import contextlib
import gc
import sys
import weakref

import pytest

from daemoneye_eventbus import (
    Broker,
    ClientConfig,
    ConnectionClosed,
    EventBus,
    EventBusError,
    FrameTooLarge,
    Subscription,
    SubscriptionClosed,
    TopicError,
    WouldBlock,
)
from support import Pair, collect, eventually, make_pair, open_bus, pids, process

SMALL = {"send_buffer_bytes": 50_000, "pool": False}


async def stuff(bus: EventBus) -> int:
    """Fills the send buffer of a bus whose broker stands still, and the kernel's buffer too."""
    count = before = 0
    while True:
        with pytest.raises(WouldBlock):
            while True:
                bus.publish_nowait(process(count, command_line="x" * 1000), topic="events.stuff")
                count += 1
        if count == before:
            return count
        before = count
        await asyncio.sleep(0.02)


class Stage:
    """A connected bus with a subscription, on a broker process that then stands still."""

    def __init__(self, broker, bus, events, path):
        self.broker, self.bus, self.events, self.path = broker, bus, events, path
        self.stuffed = 0

    async def call(self, name):
        bus, events = self.bus, self.events
        if name in ("publish", "publish_many", "publish_control"):
            self.stuffed = await stuff(bus)
        return {
            "get": events.get,
            "get_timeout": lambda: events.get(timeout=60),
            "get_many": lambda: events.get_many(5),
            "anext": events.__anext__,
            "publish": lambda: bus.publish(process(1, command_line="x" * 1000)),
            "publish_many": lambda: bus.publish_many([process(1, command_line="x" * 1000)] * 99),
            # Larger than what the buffer was stuffed with, which leaves room for less.
            "publish_control": lambda: bus.publish_control("control.x", b"x" * 2000),
            "flush": lambda: bus.flush(timeout=60),
            "statistics": bus.statistics,
            "subscribe": lambda: bus.subscribe("events.other"),
            "connect": lambda: EventBus.connect(self.path, config=ClientConfig(pool=False, connect_timeout=60)),
            "state_changes": lambda: bus.state_changes().__anext__(),
        }[name]()


WAITING = [
    "get", "get_timeout", "get_many", "anext", "publish", "publish_many", "publish_control",
    "flush", "statistics", "subscribe", "connect", "state_changes",
]  # fmt: skip


@pytest.fixture
async def stage(path, program):
    broker = program("broker.py", path)
    await broker.answer()
    bus = await EventBus.connect(path, config=ClientConfig(**SMALL))
    events = await bus.subscribe("events.process.*", "control.x", include_control=True)
    broker.freeze()
    yield Stage(broker, bus, events, path)
    broker.thaw()
    await events.close()
    await bus.shutdown()
    broker.finish()


async def usable(stage: Stage) -> None:
    """After the wait was given up: everything still works, nothing is stuck or doubled."""
    stage.broker.thaw()
    await stage.bus.flush()
    while stage.events.pending:
        stage.events.get_nowait()
    for number in (900, 901):
        await stage.bus.publish(process(number))
    assert pids(await collect(stage.events, 2)) == [900, 901]


@pytest.mark.parametrize("name", WAITING)
async def test_cancelled(stage: Stage, name):
    task = asyncio.ensure_future(await stage.call(name))
    done, _ = await asyncio.wait([task], timeout=0.05)
    assert not done, "it should have waited"
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=20)
    assert done
    assert task.cancelled()
    await usable(stage)


@pytest.mark.parametrize("name", WAITING)
async def test_timed_out(stage: Stage, name):
    loop = asyncio.get_running_loop()
    made = await stage.call(name)
    begin = loop.time()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(made, 0.05)
    assert loop.time() - begin < 1
    await usable(stage)


async def test_closed_meanwhile(path, program):
    """Every call waits on a bus of its own; all are closed at once; each wait ends as documented."""
    broker = program("broker.py", path)
    await broker.answer()
    stages, tasks = {}, {}
    for name in [n for n in WAITING if n != "connect"]:
        bus = await EventBus.connect(path, config=ClientConfig(**SMALL))
        events = await bus.subscribe("events.process.*", "control.x", include_control=True)
        stages[name] = Stage(broker, bus, events, path)
    broker.freeze()
    for name, stage in stages.items():
        tasks[name] = asyncio.ensure_future(await stage.call(name))
    done, _ = await asyncio.wait(tasks.values(), timeout=0.05)
    assert not done
    closings = asyncio.gather(*(stage.bus.shutdown() for stage in stages.values()))
    await asyncio.wait_for(closings, 8)
    await asyncio.wait(tasks.values(), timeout=20)
    ends = {name: task.exception() if task.done() else "waits" for name, task in tasks.items()}
    states = tasks["state_changes"]
    assert ends.pop("state_changes") is None
    assert states.result() == "closed"
    for name in ("get", "get_timeout", "get_many"):
        assert isinstance(ends.pop(name), SubscriptionClosed), name
    assert isinstance(ends.pop("anext"), StopAsyncIteration)
    assert {n: e for n, e in ends.items() if not isinstance(e, ConnectionClosed)} == {}
    broker.thaw()
    broker.finish()


async def test_subscription_closed_meanwhile(pair: Pair):
    for wait, error in (
        (lambda e: e.get(), SubscriptionClosed),
        (lambda e: e.get_many(3), SubscriptionClosed),
        (lambda e: e.__anext__(), StopAsyncIteration),
    ):
        events = await pair.sub.subscribe("events.#")
        task = asyncio.ensure_future(wait(events))
        await asyncio.sleep(0)
        await events.close()
        done, _ = await asyncio.wait([task], timeout=20)
        assert done
        assert isinstance(task.exception(), error)
        await events.close()


async def test_closed_while_iterated(pair: Pair):
    events = await pair.sub.subscribe("events.#")
    seen = []

    async def read():
        async for item in events:
            seen.append(item.event.pid)
            if len(seen) == 3:
                await events.close()

    for number in range(10):
        await pair.sub.publish(process(number))
    await asyncio.wait_for(read(), 5)
    assert seen == [0, 1, 2]


async def test_get_nowait_and_timeouts(pair: Pair):
    async with pair.sub.subscribe("events.#") as events:
        with pytest.raises(WouldBlock) as caught:
            events.get_nowait()
        assert isinstance(caught.value, asyncio.QueueEmpty)
        assert isinstance(caught.value, EventBusError)
        loop = asyncio.get_running_loop()
        for wait in (lambda: events.get(timeout=0.05), lambda: events.get_many(3, timeout=0.05)):
            begin = loop.time()
            with pytest.raises(TimeoutError):
                await wait()
            assert 0.04 < loop.time() - begin < 1
        with pytest.raises(TimeoutError):
            await events.get(timeout=0)
        await pair.sub.publish(process(1))
        await pair.sub.flush()
        assert (await events.get(timeout=0)).event.pid == 1


async def test_a_refused_publish_takes_no_sequence_number(kind, path):
    """A reader that checks a publisher's sequence numbers would take a gap for a loss."""
    async with (
        make_pair(kind, path, pub={"congestion": "block"}) as pair,
        pair.sub.subscribe("events.#", queue_messages=2, overflow="block") as events,
    ):
        await pair.pub.publish(process(0))
        with pytest.raises(FrameTooLarge):
            await pair.pub.publish(process(1, command_line="x" * (2 << 20)))
        with pytest.raises(TopicError):
            await pair.pub.publish(process(2), topic="control.x.y")
        await pair.pub.publish(process(3))
        await pair.pub.flush()
        if kind == "inproc":
            with pytest.raises(WouldBlock):
                pair.pub.publish_nowait(process(4))
        got = [(one.event.pid, one.sequence) for one in await collect(events, 2)]
        await pair.pub.publish(process(5))
        got += [(one.event.pid, one.sequence) for one in await collect(events, 1)]
    assert got == [(0, 0), (3, 1), (5, 2)]


async def test_the_second_waiter_gets_the_second_message(pair: Pair):
    """The first took all there was; what comes later must still wake the second."""
    async with pair.sub.subscribe("events.#") as events:
        first, second = (asyncio.create_task(events.get(timeout=2)) for _ in range(2))
        await asyncio.sleep(0)
        await pair.pub.publish(process(1))
        assert (await first).event.pid == 1
        await pair.pub.publish(process(2))
        assert (await second).event.pid == 2


async def test_several_waiters_share_one_subscription(pair: Pair):
    """As many messages as waiters: no wake-up may be lost, also where one waiter gives up."""
    async with pair.sub.subscribe("events.#") as events:
        for turn in range(300):
            waiters = [asyncio.create_task(events.get(timeout=3)) for _ in range(5)]
            await asyncio.sleep(0)
            if turn % 2:
                waiters.pop(2).cancel()
            for number in range(len(waiters)):
                await pair.pub.publish(process(number))
            got = await asyncio.gather(*waiters, return_exceptions=True)
            late = [item for item in got if isinstance(item, TimeoutError)]
            assert not late, f"turn {turn}: {len(late)} waiters hang, {events.pending} pending"
            assert sorted(pids(got)) == list(range(len(waiters)))


async def test_a_closed_bus_says_so(pair: Pair):
    bus = await open_bus(pair.kind, pair.broker, pair.path)
    events = await bus.subscribe("events.#")
    assert bus.state == "connected"
    await bus.shutdown()
    await bus.shutdown()
    assert bus.state == "closed"
    for call in (
        lambda: bus.publish(process(1)),
        lambda: bus.publish_many([process(1)]),
        lambda: bus.publish_control("control.x", b""),
        lambda: bus.subscribe("events.#"),
        bus.flush,
        bus.statistics,
    ):
        with pytest.raises(ConnectionClosed):
            await call()
    with pytest.raises(ConnectionClosed):
        bus.publish_nowait(process(1))
    with pytest.raises(SubscriptionClosed):
        await events.get()
    with pytest.raises(SubscriptionClosed):
        events.get_nowait()
    assert [item async for item in events] == []


async def test_drain_delivers_what_is_queued(pair: Pair):
    bus = await open_bus(pair.kind, pair.broker, pair.path)
    events = await bus.subscribe("events.#")
    seen = []

    async def read():
        async for item in events:
            seen.append(item.event.pid)
            await asyncio.sleep(0)

    reader = asyncio.create_task(read())
    for number in range(500):
        await bus.publish(process(number))
    await bus.drain()
    await asyncio.wait_for(reader, 5)
    assert seen == list(range(500))
    assert bus.state == "closed"


@pytest.mark.parametrize("pause", [1, 5, 50])
async def test_drain_delivers_what_the_broker_has_for_a_lossless_reader(pair: Pair, pause):
    """Its queue is empty now and then, with much behind it at the broker: that is not the end."""
    count = 3000
    bus = await open_bus(pair.kind, pair.broker, pair.path, congestion="block")
    events = await bus.subscribe("events.#", queue_messages=1, overflow="block")
    seen = []

    async def read():
        async for item in events:
            seen.append(item.event.pid)
            if len(seen) % pause == 0:
                await asyncio.sleep(0)

    reader = asyncio.create_task(read())
    await bus.publish_many(process(number) for number in range(count))
    await bus.drain()
    await asyncio.wait_for(reader, 5)
    assert (seen == list(range(count)), len(seen), events.dropped) == (True, count, 0)


@pytest.mark.parametrize("kind", ["inproc", "socket"])
async def test_a_closed_bus_leaves_no_cycle(broker, path, kind):
    """Memory does not grow where a program keeps the collector off: each bus of the broker's process left 3 KiB."""

    async def use():
        async with await open_bus(kind, broker, path, pool=False) as bus, bus.subscribe("events.#") as events:
            await bus.publish(process(1))
            await events.get(timeout=10)

    await use()
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            await use()
        assert gc.collect() < 50
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", ["inproc", "socket"])
async def test_what_is_cancelled_or_fails_leaves_no_cycle(broker, path, kind):
    """A cancelled `subscribe` or `connect` and a failed `publish_many` left a traceback and what its frames held."""
    bus = await open_bus(kind, broker, path, pool=False)
    events = await bus.subscribe("events.x")

    async def cancelled(coroutine):
        task = asyncio.ensure_future(coroutine)
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            done = await task
            # In process there may have been nothing to wait for.
            if isinstance(done, Subscription):
                await done.close()

    async def failed(coroutine):
        try:
            await coroutine
        except (EventBusError, TimeoutError):
            pass
        else:
            raise AssertionError

    async def use():
        await cancelled(bus.subscribe("events.#"))
        await cancelled(bus.subscribe("events.#", overflow="block"))
        await cancelled(EventBus.connect(f"{path}.nowhere", config=ClientConfig(pool=False)))
        await cancelled(bus.flush())
        await cancelled(bus.statistics())
        await cancelled(events.get())
        await failed(events.get(timeout=0.001))
        await failed(bus.subscribe("events..x"))
        await failed(bus.publish(process(1), topic="events..x"))
        await failed(bus.publish_many([process(1)], topic="events..x"))

    await use()
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            await use()
        await asyncio.sleep(0.05)
        assert gc.collect() < 50
    finally:
        gc.enable()
    await bus.shutdown()


async def test_a_call_that_timed_out_leaves_no_cycle(path, program):
    """A `flush`, `drain` or waiting `publish` that failed kept itself and its task until the next collection."""
    broker = program("broker.py", path)
    await broker.answer()
    bus = await EventBus.connect(path, config=ClientConfig(**SMALL | {"publish_timeout": 0.1}))
    broker.freeze()
    await stuff(bus)

    async def over(*calls) -> list[weakref.ref]:
        tasks = [asyncio.ensure_future(call) for call in calls]
        await asyncio.wait(tasks)
        assert all(isinstance(task.exception(), TimeoutError) for task in tasks)
        return [weakref.ref(task) for task in tasks]

    gc.collect()
    gc.disable()
    try:
        event = process(1, "x" * 1000)
        tasks = await over(bus.publish(event), bus.publish(event), bus.flush(0.02))
        tasks += await over(bus.drain(0.02))
        await eventually(lambda: not any(task() for task in tasks), what="the calls gone")
    finally:
        gc.enable()
    broker.thaw()
    broker.finish()


async def test_leaving_the_block_flushes(pair: Pair):
    async with pair.sub.subscribe("events.#") as events:
        opened = (
            EventBus.from_broker(pair.broker)
            if pair.kind == "inproc"
            else EventBus.connect(pair.path, config=ClientConfig(pool=False))
        )
        async with opened as bus:
            for number in range(2000):
                await bus.publish(process(number))
        assert pids(await collect(events, 2000)) == list(range(2000))


async def test_leaving_with_unsent_events_warns_and_keeps_the_exception(path, program, caplog):
    broker = program("broker.py", path)
    await broker.answer()
    loop = asyncio.get_running_loop()
    with pytest.raises(KeyError, match="mine"):
        async with EventBus.connect(path, config=ClientConfig(**SMALL)) as bus:
            broker.freeze()
            await stuff(bus)
            begin = loop.time()
            raise KeyError("mine")
    assert loop.time() - begin < 3, "two seconds at most"
    assert any(r.name.startswith("daemoneye_eventbus") for r in caplog.records), "warned about"
    broker.thaw()
    broker.finish()


@pytest.mark.parametrize("overflow", ["drop_oldest", "block"])
async def test_subscribed_while_it_is_shut_down(broker, path, overflow):
    """A subscribe that is overtaken by a shutdown fails, or returns an ended subscription; none stays open."""
    for turns in range(12):
        bus = await EventBus.connect(path)
        subscribing = asyncio.ensure_future(bus.subscribe("events.#", overflow=overflow))
        for _ in range(turns):
            await asyncio.sleep(0)
        await bus.shutdown()
        try:
            events = await asyncio.wait_for(subscribing, 5)
        except ConnectionClosed:
            pass
        else:
            with pytest.raises(SubscriptionClosed):
                await events.get(timeout=5)
        await eventually(lambda: not broker.clients(), what="no connection left")


async def test_a_subscription_that_is_collected_while_its_bus_closes(path):
    """Its destructor removed it from the dict that `shutdown` was iterating over: `RuntimeError`."""
    async with Broker(path) as broker:
        bus = await EventBus.from_broker(broker)
        kept = await bus.subscribe("events.#")
        forgotten = [await bus.subscribe("events.#")]
        forgotten.append(forgotten)

        def collect_at(frame, event, _argument):
            if event == "call" and frame.f_code.co_name == "<genexpr>" and frame.f_code.co_filename.endswith("_bus.py"):
                gc.collect()

        gc.disable()
        try:
            del forgotten
            with pytest.warns(ResourceWarning, match="was forgotten"):
                sys.setprofile(collect_at)
                try:
                    await bus.shutdown()
                finally:
                    sys.setprofile(None)
        finally:
            gc.enable()
        with pytest.raises(SubscriptionClosed):
            kept.get_nowait()
