"""Several loops, several threads, and what is forgotten: nothing leaks, wrong use is named."""

import asyncio
import gc
import os
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from daemoneye_eventbus import Broker, ClientConfig, EventBus, WouldBlock, WrongLoop
from support import Pair, collect, eventually, open_bus, pids, process

SOLO = ClientConfig(pool=False)


def test_two_runs_in_a_row(run, path, program):
    broker = program("broker.py", path)
    broker.json()

    async def main(number):
        async with EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
            await bus.publish(process(number))
            return pids(await collect(events, 1))

    assert [run(main(n)) for n in range(3)] == [[0], [1], [2]]
    broker.finish()


def test_a_bus_left_open_by_a_finished_loop(run, path, program):
    """The loop ended under a pending read: nothing is raised later, the next loop works."""
    broker = program("broker.py", path)
    broker.json()

    async def leave():
        bus = await EventBus.connect(path, config=SOLO)
        events = await bus.subscribe("events.#")
        task = asyncio.create_task(events.get())
        await asyncio.sleep(0)
        return bus, events, task

    async def use(number):
        async with EventBus.connect(path, config=SOLO) as bus:
            for _ in range(10):
                await bus.publish(process(number))
            await bus.flush()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        left = run(leave())
        run(use(1))
        del left
        gc.collect()
        run(use(2))
    broker.finish()


@pytest.mark.parametrize("name", ["sh", "x" * 500], ids=["small", "more than the kernel takes"])
def test_publish_nowait_when_the_loop_is_gone(run, path, program, name):
    """What was taken is sent, and nothing that was sent is refused: there was `WrongLoop` for the second of a turn."""
    broker = program("broker.py", path)
    broker.json()
    count = 4000

    async def leave():
        return await EventBus.connect(path, config=SOLO)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        left = [run(leave())]

        async def read():
            async with EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
                for number in range(count):
                    left[0].publish_nowait(process(number, name))
                return pids(await collect(events, count))

        assert run(read()) == list(range(count))
        assert left.pop().local_statistics()["published"] == count
        gc.collect()
    broker.finish()


@pytest.mark.parametrize("name", ["sh", "x" * 500], ids=["small", "more than the kernel takes"])
def test_another_loop_of_the_same_thread(path, program, name):
    """What is done without waiting is done and sent, though the bus's own loop does not turn; the rest is refused."""
    broker = program("broker.py", path)
    broker.json()
    count = 4000
    own, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    bus = own.run_until_complete(EventBus.connect(path, config=ClientConfig(pool=False, congestion="block")))
    heard = own.run_until_complete(bus.subscribe("events.#"))

    async def use():
        async with EventBus.connect(path) as reader, reader.subscribe("events.#") as events:
            for number in range(count):
                await bus.publish(process(number, name))
            assert pids(await collect(events, count)) == list(range(count))
        for call in (bus.flush, lambda: bus.publish_many([process(1)]), lambda: heard.get(timeout=1), heard.__anext__):
            with pytest.raises(WrongLoop):
                await asyncio.wait_for(call(), 2)

    other.run_until_complete(use())
    other.close()
    assert pids(own.run_until_complete(collect(heard, count))) == list(range(count))
    own.run_until_complete(bus.shutdown())
    own.close()
    broker.finish()


class Nesting(asyncio.SelectorEventLoop):
    """May be run by its own tasks, as `nest_asyncio` has it, which notebooks use; this is its mark."""

    _nest_patched = True

    def run_until_complete(self, future):
        if not self.is_running():
            return super().run_until_complete(future)
        task, current = asyncio.ensure_future(future, loop=self), asyncio.current_task(self)
        expected = len(self._ready)
        asyncio.tasks._leave_task(self, current)
        try:
            while not task.done():
                self._run_once()
        finally:
            asyncio.tasks._enter_task(self, current)
            # The turn that is under way wants as many as it has counted.
            for _ in range(expected):
                self.call_soon(int)
        return task.result()


def test_a_loop_that_is_run_by_its_own_tasks(path, program, caplog):
    """Whom the loop's callback woke went on within it: a nested run heard nothing, and logged an error in each turn."""
    program("broker.py", path).json()

    async def nest(bus, events, depth):
        await bus.publish(process(depth))
        got = pids([await events.get(5)])
        return got + asyncio.get_running_loop().run_until_complete(nest(bus, events, depth - 1)) if depth else got

    async def main():
        async with EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
            return await nest(bus, events, 5)

    with asyncio.Runner(loop_factory=Nesting) as runner:
        assert runner.run(main()) == [5, 4, 3, 2, 1, 0]
    assert not caplog.records


def test_a_loop_that_stands_still_keeps_nothing_back(path):
    """In the broker's process a write waits for the end of the turn, but not for long: others write it then."""
    count = 300

    async def prepare():
        broker = Broker(path)
        await broker.start()
        reader = await EventBus.connect(path)
        return broker, reader, await reader.subscribe("events.#")

    async def publish(bus):
        for number in range(count):
            await bus.publish(process(number))

    async def finish():
        await reader.shutdown()
        await broker.shutdown()

    with asyncio.Runner() as others, asyncio.Runner() as own:
        broker, reader, events = others.run(prepare())
        bus = own.run(EventBus.from_broker(broker))
        own.run(publish(bus))
        # Neither has a turn of its loop behind it.
        for number in range(count, count + 10):
            bus.publish_nowait(process(number))
        received = others.run(asyncio.wait_for(collect(events, count + 10), 5))
        assert pids(received) == list(range(count + 10))
        own.run(bus.shutdown())
        others.run(finish())


async def assert_refused(bus, events):
    """In a loop of another thread than theirs."""
    for call in (
        lambda: bus.publish(process(1)),
        bus.flush,
        lambda: bus.subscribe("events.#"),
        events.get,
        lambda: events.get_many(1),
        events.__anext__,
        events.close,
        bus.shutdown,
    ):
        with pytest.raises(WrongLoop):
            await asyncio.wait_for(call(), 2)
    with pytest.raises(WrongLoop):
        events.get_nowait()


def test_wrong_loop(path, program):
    broker = program("broker.py", path)
    broker.json()
    ready, done, shared, errors = threading.Event(), threading.Event(), {}, []

    async def owner():
        async with EventBus.connect(path) as bus:
            async with bus.subscribe("events.#") as events:
                shared.update(bus=bus, events=events)
                ready.set()
                await asyncio.to_thread(done.wait, 15)
                await bus.publish(process(1))
                assert pids(await collect(events, 1)) == [1]
            # Whoever was refused has not closed half of it.
            assert (await bus.statistics()).active_subscribers == 0

    def thread():
        try:
            asyncio.run(owner())
        except BaseException as error:
            errors.append(error)

    running = threading.Thread(target=thread)
    running.start()
    assert ready.wait(10)

    asyncio.run(assert_refused(**shared))
    done.set()
    running.join(15)
    assert errors == []
    broker.finish()


@pytest.mark.parametrize("kind", ["inproc", "socket"])
def test_the_loop_of_a_thread_that_has_ended(path, kind):
    """The system gives its memory to the next thread, which was once taken for it."""
    made = asyncio.new_event_loop()

    async def make():
        broker = Broker(path)
        await broker.start()
        bus = await open_bus(kind, broker, path)
        return threading.get_native_id(), broker, bus, await bus.subscribe("events.#")

    with ThreadPoolExecutor(1) as first:
        thread, broker, bus, events = first.submit(made.run_until_complete, make()).result(10)
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/self/task/{thread}"):
        assert time.monotonic() < deadline, "Python has joined it"
        time.sleep(0.001)
    with ThreadPoolExecutor(1) as second:
        second.submit(asyncio.run, assert_refused(bus, events)).result(30)
    for end in (bus.shutdown, broker.shutdown):
        made.run_until_complete(end())
    made.close()


async def test_a_broker_that_ends_in_another_thread_is_heard(broker, path):
    """Who waits in the loop of a bus was woken past that loop, which slept on."""
    ready, ends = threading.Event(), []

    async def owner():
        bus = await EventBus.from_broker(broker)
        asyncio.get_running_loop().call_later(0.05, ready.set)
        ends.extend([state async for state in bus.state_changes()])
        await bus.shutdown()

    running = threading.Thread(target=asyncio.run, args=(owner(),), daemon=True)
    running.start()
    assert await asyncio.to_thread(ready.wait, 5)
    await broker.shutdown()
    await asyncio.to_thread(running.join, 3)
    assert ends == ["closed"]


async def test_a_subscription_that_another_thread_collects_leaves_the_loop_alone(path, program):
    """One with a connection of its own took that out of its loop in whichever thread let go of it."""
    strangers = []

    class Loop(asyncio.SelectorEventLoop):
        home = None

        def remove_reader(self, fd):
            if threading.current_thread() is not self.home:
                strangers.append(threading.current_thread())
            return super().remove_reader(fd)

    broker = program("broker.py", path)
    await broker.answer()

    async def owner():
        asyncio.get_running_loop().home = threading.current_thread()
        async with EventBus.connect(path) as bus:
            kept = [await bus.subscribe("events.#", overflow="block")]
            assert len(await bus.clients()) == 2
            with pytest.warns(ResourceWarning, match="was forgotten"):
                await asyncio.to_thread(kept.clear)
            await eventually(lambda: _alone(bus), what="one connection")

    async def _alone(bus):
        return len(await bus.clients()) == 1

    def run():
        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(owner())

    await asyncio.to_thread(run)
    assert strangers == []
    broker.finish()


async def test_publish_nowait_from_eight_threads(pair: Pair):
    each, errors = 2000, []
    async with pair.sub.subscribe("events.#") as events:

        def work(start):
            try:
                number = 0
                while number < each:
                    try:
                        pair.pub.publish_nowait(process(start + number))
                        number += 1
                    except WouldBlock:
                        threading.Event().wait(0.001)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(n * 10_000,)) for n in range(8)]
        for thread in threads:
            thread.start()
        got = pids(await collect(events, 8 * each, 20))
        for thread in threads:
            thread.join(5)
        assert errors == []
        for n in range(8):
            assert [p for p in got if p // 10_000 == n] == [n * 10_000 + i for i in range(each)]


async def test_forgotten_subscriptions_are_ended(pair: Pair):
    # What earlier tests left has nothing to say here.
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number in range(100):
            events = await pair.sub.subscribe("events.#")
            if number % 2:
                events_cycle = [events]
                events_cycle.append(events_cycle)
                del events_cycle
        del events
        gc.collect()
    assert [w.category for w in caught].count(ResourceWarning) == 100

    async def gone():
        return (await pair.pub.statistics()).active_subscribers == 0

    await eventually(gone, what="subscriptions")
    async with pair.sub.subscribe("events.#") as events:
        await pair.pub.publish(process(1))
        assert pids(await collect(events, 1)) == [1]


async def test_a_forgotten_bus_is_closed(broker, path):
    bus = await EventBus.connect(path, config=SOLO)
    assert len(broker.clients()) == 1
    with pytest.warns(ResourceWarning, match="EventBus connected"):
        del bus
        gc.collect()
    await eventually(lambda: broker.clients() == [], what="clients")


async def test_what_is_forgotten_is_closed_where_warnings_are_errors(broker, path, monkeypatch):
    told = []
    gc.collect()
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: told.append(unraisable.exc_type))
    async with EventBus.connect(path, config=SOLO) as kept:
        bus, events = await EventBus.connect(path, config=SOLO), await kept.subscribe("events.#")
        assert (len(broker.clients()), broker.statistics().active_subscribers) == (2, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            del bus, events
            gc.collect()
        await eventually(lambda: len(broker.clients()) == 1, what="clients")
        await eventually(lambda: broker.statistics().active_subscribers == 0, what="subscriptions")
    assert told == [ResourceWarning] * 2


@pytest.mark.asyncio
async def test_buses_that_came_and_went_leave_nothing_behind(broker, path):
    """What the loop keeps for a bus, a connection and a subscription goes with them."""

    async def come_and_go() -> None:
        for _ in range(50):
            async with EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
                await bus.publish(process(1))
                await events.get(timeout=5)
            async with EventBus.from_broker(broker) as bus, bus.subscribe("events.#"):
                pass
        gc.collect()

    await come_and_go()
    before = len(gc.get_objects())
    await come_and_go()
    assert len(gc.get_objects()) - before < 50


async def test_a_read_that_is_forgotten_with_its_subscription(pair: Pair, monkeypatch):
    """The garbage collector takes both apart in an order of its own: the read has left its line before."""
    told: list[object] = []
    gc.collect()
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: told.append(unraisable.exc_value))
    for way in ("get", "__anext__"):
        events = await pair.sub.subscribe("events.#")
        reading = getattr(events, way)()
        reading.send(None)
        vars(events)["reading"] = reading
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del events, reading
            gc.collect()
    assert told == []


def test_a_get_that_is_left_in_a_closed_loop_goes_quietly(path, run, monkeypatch):
    """Its end would wake the next waiter, which cannot run there any more."""
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    kept = {}

    async def main():
        broker = Broker(path)
        await broker.start()
        bus = await EventBus.from_broker(broker)
        events = await bus.subscribe("events.#")
        waits = [events.get().__await__() for _ in range(2)]
        waiters = [wait.send(None) for wait in waits]
        # The first was woken, so that its end would wake the second.
        waiters[1].add_done_callback(kept.get)
        events._waiters.wake_one()
        # Lists let go of the last first.
        kept["waits"] = waits[::-1]

    run(main())
    kept.clear()
    gc.collect()
    # Those who were left open in the closed loop may say so.
    assert [one for one in told if one.exc_type is not ResourceWarning] == []


@pytest.mark.parametrize("calls", [("get", "get_many"), ("get_many", "get_many"), ("__anext__", "get_many")])
def test_tasks_that_are_left_in_a_closed_loop_go_quietly(path, program, monkeypatch, calls):
    """Two wait, and the first of them that goes would wake the other."""
    told = []
    broker = program("broker.py", path)
    broker.json()
    loop = asyncio.new_event_loop()
    # That tasks were left is asyncio's to say.
    loop.set_exception_handler(lambda *_: None)

    async def main():
        bus = await EventBus.connect(path)
        events = await bus.subscribe("events.#")
        given = {"get_many": (5,)}
        tasks = [loop.create_task(getattr(events, call)(*given.get(call, ()))) for call in calls]
        await asyncio.sleep(0)
        return bus, events, tasks

    bus, events, tasks = loop.run_until_complete(main())
    loop.close()
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        while tasks:
            tasks.pop()
            gc.collect()
        del bus, events
        gc.collect()
    assert [str(one.exc_value) for one in told] == []
    broker.finish()
