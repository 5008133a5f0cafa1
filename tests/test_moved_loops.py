"""An event loop that runs in one thread and later in another: what belongs to it goes with it."""

import asyncio
import selectors
import threading
from contextlib import contextmanager

import pytest

from daemoneye_eventbus import Broker, WrongLoop
from support import collect, open_bus, pids, process

KINDS = ["inproc", "socket"]


@contextmanager
def running_in_a_thread(loop):
    """Gives a function that runs a coroutine there."""
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result(20)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)


@pytest.fixture
def loop():
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


async def prepare(kind, path):
    broker = Broker(path)
    await broker.start()
    bus = await open_bus(kind, broker, path)
    return broker, bus, await bus.subscribe("events.#")


def publish(bus, number, waits):
    """In this thread; what waits, in a loop of its own."""

    async def other():
        await bus.publish(process(number))

    if waits:
        asyncio.run(other())
    else:
        bus.publish_nowait(process(number))


async def finish(broker, bus):
    await bus.shutdown()
    await broker.shutdown()


@pytest.mark.parametrize("kind", KINDS)
def test_every_call_is_admitted_in_the_thread_that_runs_the_loop_now(path, loop, kind):
    """Half of them were refused: those that looked at the thread and not at the loop."""
    broker, bus, events = loop.run_until_complete(prepare(kind, path))

    async def now():
        bus.publish_nowait(process(4))
        await bus.flush()
        changes = bus.state_changes()
        await changes.aclose()
        return events.get_nowait().event.pid

    with running_in_a_thread(loop) as run:
        run(bus.publish(process(1)))
        assert run(bus.publish_many([process(2), process(3)])) == 2
        run(bus.publish_control("control.agent.policy", b"x"))
        run(bus.flush())
        assert pids([run(events.get())]) == [1]
        assert pids(run(events.get_many(1))) == [2]
        assert pids([run(anext(events))]) == [3]
        assert run(now()) == 4
        assert run(bus.statistics()).active_subscribers == 1
    # And back.
    loop.run_until_complete(bus.publish(process(5)))
    assert pids(loop.run_until_complete(collect(events, 1))) == [5]
    with running_in_a_thread(loop) as run:
        run(events.close())
        run(bus.drain())
        run(finish(broker, bus))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", ["publish", "get", "get_many", "flush"])
def test_the_thread_that_made_a_bus_is_refused_once_its_loop_runs_elsewhere(path, loop, kind, first):
    """In whichever way the bus has learned of it."""
    broker, bus, events = loop.run_until_complete(prepare(kind, path))
    loop.run_until_complete(bus.publish(process(1)))
    loop.run_until_complete(bus.flush())
    calls = {"publish": lambda: bus.publish(process(2)), "get": events.get, "flush": bus.flush}
    calls["get_many"] = lambda: events.get_many(1)

    async def elsewhere(call):
        with pytest.raises(WrongLoop, match="does not run here"):
            await asyncio.wait_for(call(), 5)

    with running_in_a_thread(loop) as run:
        run(calls[first]())
        for call in calls.values():
            asyncio.run(elsewhere(call))
        with pytest.raises(WrongLoop, match="does not run here"):
            events.get_nowait()
        run(finish(broker, bus))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("debug", [False, True], ids=["usual", "debug"])
@pytest.mark.parametrize("waits", [False, True], ids=["publish_nowait", "publish"])
def test_publishing_in_the_thread_that_made_the_bus(path, loop, kind, debug, waits):
    """While a task runs elsewhere. What was published raised in debug mode, as if it had not been."""
    loop.set_debug(debug)
    loop.slow_callback_duration = 30.0
    broker, bus, events = loop.run_until_complete(prepare(kind, path))
    begun, over = threading.Event(), threading.Event()

    async def busy():
        begun.set()
        over.wait(20)

    with running_in_a_thread(loop) as run:
        task = asyncio.run_coroutine_threadsafe(busy(), loop)
        assert begun.wait(20)
        for number in range(5):
            publish(bus, number, waits)
        assert bus.local_statistics()["published"] == 5
        over.set()
        task.result(20)
        assert pids(run(collect(events, 5))) == list(range(5))
        run(finish(broker, bus))


class TellingSelector(selectors.DefaultSelector):
    """Tells when its loop is about to sleep, and minds nothing that happens in another thread from then on."""

    def __init__(self):
        super().__init__()
        self.asleep = threading.Event()

    def select(self, timeout=None):
        if timeout is None or timeout > 0:
            self.asleep.set()
        return super().select(timeout)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("debug", [False, True], ids=["usual", "debug"])
@pytest.mark.parametrize("waits", [False, True], ids=["publish_nowait", "publish"])
def test_what_is_published_wakes_a_reader_whose_loop_sleeps_elsewhere(path, kind, debug, waits):
    """In the thread that made the bus. The reader slept on, and in debug mode what was accepted raised."""
    selector = TellingSelector()
    loop = asyncio.SelectorEventLoop(selector)
    loop.set_debug(debug)
    broker, bus, events = loop.run_until_complete(prepare(kind, path))
    reading = loop.create_task(events.get())
    loop.run_until_complete(asyncio.sleep(0))

    read = threading.Event()
    reading.add_done_callback(lambda _reading: read.set())
    selector.asleep.clear()
    with running_in_a_thread(loop) as run:
        assert selector.asleep.wait(20)
        publish(bus, 1, waits)
        is_read = read.wait(10)
        run(finish(broker, bus))
    loop.close()
    assert is_read
    assert pids([reading.result()]) == [1]
