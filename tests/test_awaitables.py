"""What the calls return: awaitable in every usual way, lazy, single-use, noisy if forgotten."""

import asyncio
import collections.abc
import contextlib
import copy
import gc
import os
import pickle
import subprocess
import sys
import warnings
from typing import Any

import pytest

from daemoneye_eventbus import (
    Broker,
    ClientConfig,
    EventBus,
    PathRefused,
    PatternError,
    SubscriptionClosed,
    TopicError,
    WouldBlock,
)
from support import Pair, collect, eventually, pids, process, remote_clients, take_all

SOLO = ClientConfig(pool=False)
MAKERS = {
    "connect": lambda pair: EventBus.connect(pair.path, config=SOLO),
    "from_broker": lambda pair: EventBus.from_broker(pair.broker),
    "subscribe": lambda pair: pair.sub.subscribe("events.#"),
}
WAYS = {
    "await": lambda made: _awaited(made),
    "create_task": lambda made: asyncio.create_task(made),
    "gather": lambda made: _first(asyncio.gather(made)),
    "wait_for": lambda made: asyncio.wait_for(made, 5),
    "timeout": lambda made: _timeout(made),
}


async def _awaited(made):
    return await made


async def _first(gathered):
    return (await gathered)[0]


async def _timeout(made):
    async with asyncio.timeout(5):
        return await made


async def close(thing) -> None:
    await (thing.shutdown() if isinstance(thing, EventBus) else thing.close())


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("way", WAYS)
async def test_connect_and_subscribe_are_awaitable_in_every_way(pair: Pair, maker, way):
    made = MAKERS[maker](pair)
    assert isinstance(made, collections.abc.Coroutine)
    assert isinstance(made, contextlib.AbstractAsyncContextManager)
    thing = await WAYS[way](made)
    assert hasattr(thing, "shutdown" if isinstance(thing, EventBus) else "close")
    await close(thing)


@pytest.mark.parametrize("maker", MAKERS)
async def test_connect_and_subscribe_are_context_managers(pair: Pair, maker):
    async with MAKERS[maker](pair) as thing:
        if isinstance(thing, EventBus):
            assert thing.state == "connected"
        else:
            await pair.sub.publish(process(1))
            assert len(await collect(thing, 1)) == 1
    if isinstance(thing, EventBus):
        assert thing.state == "closed"
    else:
        with pytest.raises(SubscriptionClosed):
            await thing.get()


@pytest.mark.parametrize("maker", MAKERS)
async def test_a_body_exception_passes_through(pair: Pair, maker):
    with pytest.raises(KeyError, match="mine"):
        async with MAKERS[maker](pair):
            raise KeyError("mine")


@pytest.mark.parametrize("maker", MAKERS)
async def test_awaited_twice_is_an_error(pair: Pair, maker):
    made = MAKERS[maker](pair)
    thing = await made
    with pytest.raises(RuntimeError):
        await made
    with pytest.raises(RuntimeError):
        async with made:
            pass
    await close(thing)


READS = {
    "get": lambda events: events.get(),
    "get with a timeout": lambda events: events.get(timeout=20),
    "anext": lambda events: events.__anext__(),
}


async def refused_beside(first: asyncio.Task, waiting: Any) -> None:
    """Awaited in the task that runs, as `wait_for` does it from Python 3.12 on."""
    with pytest.raises(RuntimeError, match="being awaited already"):
        async with asyncio.timeout(2):
            await waiting
    assert not first.done()


@pytest.mark.parametrize("way", READS)
async def test_a_second_await_at_the_same_time_costs_the_first_nothing(pair: Pair, way):
    async with pair.sub.subscribe("events.#") as events:
        waiting = READS[way](events)

        async def wait():
            return await waiting

        first = asyncio.create_task(wait())
        await asyncio.sleep(0)
        await refused_beside(first, waiting)
        await pair.pub.publish(process(7))
        assert (await asyncio.wait_for(first, 5)).event.pid == 7


@pytest.mark.parametrize("way", ["get", "anext"])
@pytest.mark.parametrize("begins", [True, False], ids=["begins", "is cancelled before"])
async def test_a_second_task_at_the_same_time_costs_the_first_nothing(pair: Pair, way, begins):
    """Cancelled before it began, it once ended the first one's wait, which then slept for ever beside a message."""
    async with pair.sub.subscribe("events.#") as events:
        waiting = READS[way](events)
        first = asyncio.create_task(waiting)
        await asyncio.sleep(0)
        second = asyncio.create_task(waiting)
        if not begins:
            second.cancel()
        with pytest.raises(RuntimeError if begins else asyncio.CancelledError):
            await second
        await pair.pub.publish(process(7))
        assert (await asyncio.wait_for(first, 5)).event.pid == 7


@pytest.mark.parametrize("way", ["publish", *READS])
async def test_a_second_await_while_others_have_a_turn_costs_the_first_nothing(pair: Pair, way):
    count = 2_100  # more than one turn has room for, of either kind
    async with pair.sub.subscribe("events.#") as events:
        if way != "publish":
            await pair.pub.publish_many([process(pid) for pid in range(count)])
            await eventually(lambda: events.pending == count, what="pending")
        made = [pair.pub.publish(process(pid)) if way == "publish" else READS[way](events) for pid in range(count)]
        tasks = [asyncio.create_task(each) for each in made]
        await asyncio.sleep(0)
        at = next(at for at, task in enumerate(tasks) if not task.done())
        await refused_beside(tasks[at], made[at])
        async with asyncio.timeout(5):
            results = await asyncio.gather(*tasks)
        assert pids(await collect(events, count) if way == "publish" else results) == list(range(count))


async def test_anext_with_a_default(pair: Pair):
    """It calls ``__await__`` before each step, which was once taken for a second await."""
    count = 600  # so many that others have a turn in between
    async with pair.sub.subscribe("events.#") as events:

        async def following():
            return await anext(events, None)

        first = asyncio.create_task(following())
        await asyncio.sleep(0)
        await pair.pub.publish(process(7))
        assert (await asyncio.wait_for(first, 5)).event.pid == 7
        await pair.pub.publish_many([process(pid) for pid in range(count)])
        await eventually(lambda: events.pending == count, what="pending")
        assert pids([await following() for _ in range(count)]) == list(range(count))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(following(), 0.05)
        await pair.pub.publish(process(8))
        assert (await asyncio.wait_for(following(), 5)).event.pid == 8
    assert await following() is None


def test_anext_with_a_default_can_be_closed_outside_its_task(path):
    """Closed together with its loop, or by hand, it once raised that it is awaited already."""

    async def following(events):
        while True:
            await anext(events, None)

    async def prepare():
        broker = Broker(path)
        await broker.start()
        bus = await EventBus.from_broker(broker)
        return broker, bus, await bus.subscribe("events.#")

    async def begin():
        count = 20_000  # so many that others have a turn in between
        await bus.publish_many([process(pid) for pid in range(count)])
        reading = following(events)
        left.append((asyncio.create_task(reading), reading))
        await asyncio.sleep(0)
        assert 0 < events.pending < count

    async def finish():
        by_hand = following(events)
        take_all(events)
        by_hand.send(None).cancel()
        by_hand.close()
        await bus.shutdown()
        await broker.shutdown()

    left = []
    with asyncio.Runner() as runner:
        broker, bus, events = runner.run(prepare())
        runner.run(begin())
        left[0][1].close()
        runner.run(finish())


@pytest.mark.parametrize("maker", MAKERS)
async def test_forgotten_warns_and_does_nothing(pair: Pair, maker):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = MAKERS[maker](pair)
        del made
        gc.collect()
    assert [w.category for w in caught] == [ResourceWarning]
    assert len(remote_clients(pair.broker)) <= (2 if pair.kind == "socket" else 0)
    assert (await pair.pub.statistics()).active_subscribers == 0


async def test_iterating_without_await_says_so(pair: Pair):
    with pytest.raises(TypeError, match=r"subscribe\(\) was not awaited; say: async for \.\.\. in await subscribe"):
        async for _ in pair.sub.subscribe("events.#"):
            pass


@pytest.mark.parametrize("maker", MAKERS)
async def test_attributes_before_the_await_are_refused_with_advice(pair: Pair, maker):
    made = MAKERS[maker](pair)
    with pytest.raises(AttributeError, match=rf"^{maker}\(\) has no 'publish'; await it, or enter it with async with"):
        made.publish
    assert not hasattr(made, "publish")
    made.close()


def test_a_forgotten_await_warns_by_default(path):
    """As Python itself tells it of a coroutine: where nobody turned on warnings, too. An object that was not made
    is a resource, of which Python tells those who ask; who uses it gets an error.
    """
    script = f"""
import asyncio
from daemoneye_eventbus import Broker, EventBus, ProcessEvent

async def main():
    async with Broker({str(path)!r}) as broker, EventBus.from_broker(broker) as bus:
        events = await bus.subscribe("events.#")
        bus.publish(ProcessEvent(pid=1, name="sh"))
        EventBus.connect("nowhere")
        bus.subscribe("events.#")
        print(events.pending)
        await events.close()

asyncio.run(main())
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    for options in ([], ["-W", "default"]):
        done = subprocess.run(
            [sys.executable, *options, "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "0\n")
        assert "RuntimeWarning: publish was never awaited; nothing happened" in done.stderr
        for call in ("connect", "subscribe"):
            told = f"ResourceWarning: {call}() was never awaited; nothing happened"
            assert (told in done.stderr) == bool(options)


async def test_a_forgotten_await_hides_no_exception(pair: Pair):
    """The error for using the awaitable in place of its result must come out; it was once `SystemError`."""
    async with pair.sub.subscribe("events.#") as events:
        for make in (events.get, events.__anext__, lambda: pair.pub.publish(process(1))):
            for use, told in ((int, TypeError), (["x"].index, ValueError), ({}.__getitem__, KeyError)):
                with pytest.warns(RuntimeWarning, match="was never awaited; nothing happened"):
                    try:
                        use(make())
                    except Exception as error:
                        raised = type(error)
                assert raised is told
    assert events.pending == 0


async def test_nothing_is_raised_before_the_first_await(pair: Pair, monkeypatch):
    monkeypatch.delenv("DAEMONEYE_BROKER_SOCKET", raising=False)
    events = await pair.sub.subscribe("events.#")
    wrong = [
        (EventBus.connect(), ValueError),
        (EventBus.connect("/tmp/x", instance="y"), ValueError),
        (EventBus.connect("\0"), (ValueError, PathRefused)),
        (pair.sub.subscribe(), ValueError),
        (pair.sub.subscribe("events.#.x"), PatternError),
        (pair.pub.publish("no event"), TypeError),
        (pair.pub.publish(process(1), topic="nowhere"), TopicError),
        (pair.pub.publish_control("events.x", b""), TopicError),
        (events.get_many(0), ValueError),
        (events.get(timeout="soon"), TypeError),
    ]
    for made, error in wrong:
        with pytest.raises(error):
            await made
    await events.close()


def calls(pair: Pair, events):
    return {
        "publish": lambda: pair.sub.publish(process(1)),
        "publish_many": lambda: pair.sub.publish_many([process(2)]),
        "publish_control": lambda: pair.sub.publish_control("control.x", b""),
        "flush": lambda: pair.sub.flush(),
        "statistics": lambda: pair.sub.statistics(),
        "get": lambda: events.get(timeout=5),
        "get_many": lambda: events.get_many(1, timeout=5),
        "unsubscribe": lambda: pair.sub.unsubscribe("extra"),
        "close": lambda: events.close(),
        "drain": lambda: pair.sub.drain(),
        "shutdown": lambda: pair.sub.shutdown(),
    }


NAMES = list(calls(None, None))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", WAYS)
async def test_calls_are_coroutines_for_every_function(pair: Pair, name, way):
    from daemoneye_eventbus import EventSubscription, SourceCaps

    extra = EventSubscription(
        subscriber_id="extra",
        capabilities=SourceCaps(event_types=["network"], collectors=[], max_priority=0),
    )
    held = await pair.sub.subscribe(extra)
    events = await pair.sub.subscribe("events.#")
    for number in range(3):
        await pair.sub.publish(process(number))
    await pair.sub.flush()
    made = calls(pair, events)[name]()
    assert isinstance(made, collections.abc.Coroutine)
    await asyncio.sleep(0)
    if name == "drain":
        await events.get_many(3)
    result = await WAYS[way](made)
    if name == "get":
        assert result.event.pid == 0
    if name == "publish_many":
        assert result == 1
    with pytest.raises(RuntimeError):
        await made
    await held.close()
    await events.close()


async def test_a_call_that_never_ran_had_no_effect(pair: Pair):
    async with pair.sub.subscribe("events.#") as events:
        made = pair.sub.publish(process(1))
        made.close()
        task = asyncio.create_task(pair.sub.publish(process(2)))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await pair.sub.publish(process(3))
        await pair.sub.flush()
        assert events.get_nowait().event.pid == 3
        with pytest.raises(WouldBlock):
            events.get_nowait()


async def test_task_group_of_everything(pair: Pair):
    async with pair.sub.subscribe("events.#") as events, asyncio.TaskGroup() as group:
        got = group.create_task(events.get_many(10, timeout=5))
        for number in range(3):
            group.create_task(pair.sub.publish(process(number)))
        group.create_task(pair.sub.flush())
    assert 1 <= len(got.result()) <= 3


async def test_a_broker_is_started_not_awaited(path):
    broker = Broker(path)
    assert not isinstance(broker, collections.abc.Awaitable)
    assert not broker.running
    assert str(broker.path) == path
    await broker.start()
    assert broker.running
    async with EventBus.connect(path):
        pass
    await broker.shutdown()
    await broker.shutdown()
    assert not broker.running


async def test_get_many_takes_what_is_there(pair: Pair):
    async with pair.sub.subscribe("events.#") as events:
        for number in range(10):
            await pair.sub.publish(process(number))
        await pair.sub.flush()
        assert pids(await events.get_many(4)) == [0, 1, 2, 3]
        assert events.pending == 6
        assert pids(await events.get_many(100, timeout=1)) == [4, 5, 6, 7, 8, 9]


async def test_repr_and_name_of_awaitables(pair: Pair):
    """As shown in a task's repr, a debugger or a log."""
    async with pair.sub.subscribe("events.#") as events:
        calls = {
            "subscribe": lambda: pair.sub.subscribe("events.x"),
            "connect": lambda: EventBus.connect(pair.path, config=SOLO),
            "from_broker": lambda: EventBus.from_broker(pair.broker),
            "get": events.get,
            "__anext__": events.__anext__,
            "publish": lambda: pair.pub.publish(process(1)),
        }
        for name, call in calls.items():
            made = call()
            assert repr(made) == f"<{name}() not awaited yet>"
            task = asyncio.ensure_future(made)
            assert f" coro=<{name}()" in repr(task)
            await asyncio.sleep(0)
            if name in {"get", "__anext__"}:
                assert repr(made) == f"<{name}() begun>"
                await pair.pub.publish(process(1))
            done = await asyncio.wait_for(task, 10)
            if name in MAKERS:
                await close(done)
            else:
                assert repr(made) == f"<{name}() done>"


@pytest.mark.filterwarnings("ignore:.*never awaited")
async def test_what_lives_in_one_process_is_neither_copied_nor_pickled(pair: Pair):
    """A copy of a broker would have been a second owner of its socket."""
    events = await pair.sub.subscribe("events.#")
    made = [pair.broker, pair.pub, events, pair.sub.subscribe("events.x"), EventBus.connect(pair.path), events.get()]
    made.append(pair.pub.state_changes())
    for one in made:
        for carry in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match=r"^cannot (copy or )?pickle "):
                carry(one)
    await events.close()
