"""How calls behave in asyncio: cancellation, fairness, errors in user code, contexts."""

import asyncio
import contextlib
import contextvars
import logging
import random
import sys
import time

import pytest

from daemoneye_eventbus import Broker, ClientConfig, EventBus
from daemoneye_eventbus._bindings import Waiter
from support import LONG, Pair, collect, make_pair, pids, process

STORM = 100_000 if LONG else 10_000
SOLO = ClientConfig(pool=False)


@pytest.mark.limit(120)
def test_cancel_storm(run, kind, path):
    """Waits are cancelled at every moment while messages flow: each message is received exactly once."""

    async def main():
        async with make_pair(kind, path) as pair, pair.sub.subscribe("events.#") as events:
            got, sent, stop = [], 0, False

            async def source():
                nonlocal sent
                while not stop:
                    for _ in range(random.randint(1, 3)):
                        await pair.pub.publish(process(sent))
                        sent += 1
                    await asyncio.sleep(random.random() * 0.001)

            task = asyncio.create_task(source())
            for turn in range(STORM):
                limit = random.choice((0, 0.00005, 0.0003, 0.001, 0.002))
                with contextlib.suppress(TimeoutError):
                    if turn % 3 == 2:
                        got += pids(await asyncio.wait_for(events.get_many(2), limit))
                    else:
                        got.append((await asyncio.wait_for(events.get(), limit)).event.pid)
            stop = True
            await task
            while len(got) < sent:
                got.append((await events.get(timeout=5)).event.pid)
            assert got == list(range(sent))
            assert events.dropped == 0
            assert sent > STORM // 20

    run(main())


def test_cancelled_at_the_very_moment_of_arrival(run, kind, path):
    """The message is there and the wait is cancelled in the same turn of the loop."""

    async def main():
        async with make_pair(kind, path) as pair, pair.sub.subscribe("events.#") as events:
            got = []
            for number in range(500):
                waiting = asyncio.create_task(events.get())
                await asyncio.sleep(0)
                await pair.sub.publish(process(number))
                if number % 2:
                    await pair.sub.flush()
                else:
                    await asyncio.sleep(0)
                waiting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    got.append((await waiting).event.pid)
            await pair.sub.flush()
            while len(got) < 500:
                got.append((await events.get(timeout=5)).event.pid)
            assert got == list(range(500))

    run(main())


async def ticks(seconds: float, work) -> tuple[float, float]:
    """Runs `work` beside a ticker of 5 ms: its ticks in a second, and its longest pause.

    Both in time that this thread computes, since other programs that use the processor are no fault of the work's.
    """
    ends = time.monotonic() + seconds
    longest, count = 0.0, 0
    task = asyncio.create_task(work)
    try:
        began = last = time.thread_time()
        while time.monotonic() < ends:
            await asyncio.sleep(0.005)
            now = time.thread_time()
            longest, count, last = max(longest, now - last), count + 1, now
            if task.done():
                await task
                raise AssertionError("the work ended before the ticker")
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    # Nor was it stopped without computing.
    assert time.monotonic() < ends + 5
    return count / (last - began), longest


def test_a_tight_publish_loop_lets_others_run(run, kind, path):
    async def main():
        async with make_pair(kind, path) as pair:

            async def work():
                while True:
                    await pair.pub.publish(process(1))

            rate, longest = await ticks(0.5, work())
            assert rate >= 50
            assert longest < 0.15

    run(main())


@pytest.mark.parametrize("way", ["async for", "get"])
def test_a_tight_reader_lets_others_run(run, kind, path, way):
    async def main():
        async with make_pair(kind, path) as pair:
            async with pair.sub.subscribe("events.#", queue_messages=500_000) as events:

                async def work():
                    if way == "get":
                        while True:
                            await events.get()
                    async for _ in events:
                        pass

                async def feed():
                    while True:
                        await pair.pub.publish(process(1))

                feeding = asyncio.create_task(feed())
                rate, longest = await ticks(0.5, work())
                feeding.cancel()
                assert rate >= 40
                assert longest < 0.2

    run(main())


async def test_errors_in_user_code_break_nothing(pair: Pair):
    class Interrupt(BaseException):
        pass

    async with pair.sub.subscribe("events.#") as events:
        for number in range(10):
            await pair.sub.publish(process(number))
        await pair.sub.flush()
        for error in (ValueError, Interrupt):
            with pytest.raises(error):
                async for _ in events:
                    raise error
        seen = []
        async for item in events:
            seen.append(item.event.pid)
            if item.event.pid < 5:
                await pair.sub.publish(process(100 + item.event.pid))
            if item.event.pid == 104:
                break
        assert seen == [*range(2, 10), 102, 103, 104]


async def test_a_blocked_loop_disturbs_no_one_else(path, program):
    """The in-process broker serves others while this process's loop stands still."""
    async with Broker(path), EventBus.connect(path, config=SOLO):
        spec = {"patterns": ["events.#"], "expect": 1000}
        reader = program("subscriber.py", path, spec)
        reader.json()
        source = program("publisher.py", path, 1000)
        begin = time.monotonic()
        assert reader.json()["received"] == 1000
        assert time.monotonic() - begin < 5
        source.json()
        reader.finish()
        source.finish()


@pytest.mark.parametrize("call", ["flush", "statistics", "broker_statistics", "clients", "subscribe"])
async def test_calls_that_need_not_wait_give_others_their_turn(pair: Pair, call):
    """In the broker's own process no call has to wait; a task that calls in a tight loop must still let others run."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def ask() -> None:
        if call == "subscribe":
            async with pair.pub.subscribe("events.#"):
                pass
        else:
            await getattr(pair.pub, call)()

    task = asyncio.create_task(other())
    for _ in range(50_000):
        await ask()
        if turns >= 3:
            break
    assert turns >= 3
    task.cancel()


async def test_each_task_keeps_its_context(pair: Pair):
    """A reader that is woken may be stepped at once; it must run in its own context."""
    mine: contextvars.ContextVar[int] = contextvars.ContextVar("mine")
    async with pair.sub.subscribe("events.#") as events:

        async def read(number: int) -> int:
            mine.set(number)
            await events.get(timeout=10)
            await events.get()
            return mine.get()

        async with asyncio.TaskGroup() as group:
            reading = [group.create_task(read(number)) for number in range(5)]
            await asyncio.sleep(0)
            mine.set(-1)
            for number in range(10):
                await pair.pub.publish(process(number))
                await asyncio.sleep(0)
        assert [task.result() for task in reading] == list(range(5))
        assert mine.get() == -1


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks that begin at once")
async def test_tasks_that_begin_at_once(pair: Pair):
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    try:
        async with pair.sub.subscribe("events.#") as events:
            async with asyncio.TaskGroup() as group:
                reading = [group.create_task(events.get(timeout=10)) for _ in range(10)]
                publishing = [group.create_task(pair.pub.publish(process(number))) for number in range(10)]
                assert publishing[0].done()
            assert sorted(task.result().event.pid for task in reading) == list(range(10))
            other = await asyncio.create_task(pair.sub.subscribe("events.x"))
            waiting = asyncio.create_task(other.get())
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await asyncio.create_task(other.close())
            await asyncio.create_task(pair.pub.flush())
    finally:
        loop.set_task_factory(None)


async def turns_of(publish, publishes=200, **fields):
    """Turns of the loop that so many publishes let others have."""
    turns, again = 0, []

    def turn():
        nonlocal turns
        turns += 1
        again.append(asyncio.get_running_loop().call_soon(turn))

    turn()
    for number in range(publishes):
        await publish(process(number, **fields))
    again[-1].cancel()
    return turns


async def test_others_have_a_turn_every_64_publishes(pair: Pair):
    """api.md promises 64; it was once 256."""
    assert await turns_of(pair.pub.publish, 6400) >= 100


@pytest.mark.parametrize("queue", [1, 8, 64])
@pytest.mark.parametrize("topic", ["events.process.*", "control.collector.mine"], ids=["its topic", "another topic"])
async def test_a_small_queue_that_nobody_reads_slows_nobody(pair: Pair, topic, queue):
    """While one was open, whatever its topic, all publishers of its loop gave a turn for each eighth of it."""
    async with pair.sub.subscribe(topic, queue_messages=queue):
        assert await turns_of(pair.pub.publish) < 20


async def test_idle_buses_slow_nobody(pair: Pair):
    """Each had its share of what a turn has room for."""
    async with pair.sub.subscribe("events.process.*", queue_messages=64):
        others = [await EventBus.from_broker(pair.broker) for _ in range(20)]
        assert await turns_of(pair.pub.publish) < 20
        for other in others:
            await other.shutdown()


async def test_others_have_a_turn_every_512_kib(pair: Pair):
    """Over a socket too, where the bytes come to a reader by way of the broker. Only messages were once counted."""
    size, publishes = 40_000, 200
    async with pair.sub.subscribe("events.#"):
        assert await turns_of(pair.pub.publish, publishes, command_line="x" * size) >= publishes * size / 600_000


SMALL_QUEUES = {
    **{f"{messages} messages": ({"queue_messages": messages}, 0) for messages in [1, 2, 3, 4, 8, 20]},
    "one byte": ({"queue_bytes": 1}, 1_000),
    "32 events": ({"queue_bytes": 256 * 1024}, 8_000),
    "10 events": ({"queue_bytes": 1024 * 1024}, 100_000),
    "the default for large events": ({}, 400_000),
}


@pytest.mark.parametrize("many", [False, True], ids=["one by one", "publish_many"])
@pytest.mark.parametrize("small", SMALL_QUEUES)
def test_a_ready_reader_of_the_same_loop_gets_all_however_small_its_queue(path, run, small, many):
    """Queues of up to four messages, and of few bytes, once overflowed before their waiting reader had a turn."""
    queue, size = SMALL_QUEUES[small]

    def event(pid):
        return process(pid, command_line="x" * size)

    async def main():
        async with (
            Broker(path) as broker,
            EventBus.from_broker(broker) as bus,
            bus.subscribe("events.#", **queue) as events,
        ):
            reading = asyncio.create_task(collect(events, 500))
            await asyncio.sleep(0)
            if many:
                await bus.publish_many(map(event, range(500)))
            else:
                for number in range(500):
                    await bus.publish(event(number))
            assert pids(await reading) == list(range(500))
            assert events.dropped == 0

    run(main())


@pytest.mark.parametrize("make", [asyncio.Future, Waiter], ids=["asyncio", "ours"])
async def test_callbacks_are_removed_as_from_a_future_of_asyncio(make):
    """If comparing callbacks fails, none is removed or lost."""

    class Callback:
        def __init__(self, fails):
            self.fails, self.called = fails, 0

        def __call__(self, _future):
            self.called += 1

        def __eq__(self, other):
            if self.fails:
                raise LookupError("planted")
            return self is other

        __hash__ = None

    loop = asyncio.get_running_loop()
    future = make(loop=loop) if make is asyncio.Future else make(loop)
    first, fails, last = Callback(fails=False), Callback(fails=True), Callback(fails=False)
    for callback in (first, fails, last, last):
        future.add_done_callback(callback)
    with pytest.raises(LookupError, match="planted"):
        future.remove_done_callback(last)
    # Itself is found without asking it.
    assert future.remove_done_callback(fails) == 1
    assert future.remove_done_callback(last) == 2
    assert future.remove_done_callback(last) == 0
    if make is asyncio.Future:
        future.set_result(None)
    else:
        future.wake()
    await asyncio.sleep(0)
    assert (first.called, fails.called, last.called) == (1, 0, 0)


@pytest.mark.parametrize("kind", ["inproc", "socket"])
def test_debug_mode_names_the_task_of_a_slow_reader(path, caplog, kind):
    """It named this package's callback, which had the reader go on within it."""

    async def slow(events):
        await events.get()
        time.sleep(0.1)

    async def main():
        asyncio.get_running_loop().slow_callback_duration = 0.09
        async with make_pair(kind, path) as pair, pair.sub.subscribe("events.#") as events:
            reader = asyncio.create_task(slow(events), name="the slow reader")
            await asyncio.sleep(0)
            await pair.pub.publish(process(1))
            await reader

    caplog.set_level(logging.WARNING, "asyncio")
    asyncio.run(main(), debug=True)
    messages = [record.getMessage() for record in caplog.records]
    assert any("Executing <Task" in text and "name='the slow reader'" in text for text in messages), messages
