"""A waiting task is stepped inside a callback of the loop: what it does there must not affect other readers."""

import asyncio
import contextlib
import contextvars
import gc
import weakref

import pytest

from daemoneye_eventbus import Broker, EventBus
from interrupter import Interrupter
from support import process


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("remote", [True, False], ids=["socket", "in-process"])
def test_a_reader_that_stops_the_loop_takes_no_message_of_others(path, error, remote):
    loop = asyncio.new_event_loop()
    try:
        broker = Broker(path)
        loop.run_until_complete(broker.start())

        async def prepare():
            bus = await (EventBus.connect(path) if remote else EventBus.from_broker(broker))
            return bus, [await bus.subscribe("events.#") for _ in range(3)]

        bus, readers = loop.run_until_complete(prepare())
        got: list[int] = []

        async def ends_the_run(events):
            received = await events.get()
            got.append(received.event.pid)
            raise error

        async def reads(events):
            received = await events.get()
            got.append(received.event.pid)

        tasks = [
            loop.create_task(work(events)) for work, events in zip([ends_the_run, reads, reads], readers, strict=True)
        ]

        async def publish():
            await bus.publish(process(7))
            await asyncio.sleep(30)

        publisher = loop.create_task(publish())
        with pytest.raises(error):
            loop.run_until_complete(publisher)
        loop.run_until_complete(asyncio.wait_for(asyncio.gather(*tasks[1:]), 5))
        assert got == [7, 7, 7]
        with contextlib.suppress(error):
            tasks[0].result()

        async def leave():
            publisher.cancel()
            await bus.shutdown()
            await broker.shutdown()

        loop.run_until_complete(leave())
    finally:
        loop.close()


@pytest.mark.parametrize("behind", ["on_readable", "take"])
def test_an_interrupt_while_the_loop_reads_loses_no_wake_up(path, behind):
    """After a Ctrl-C right behind the native half of a read no reader was woken any more, and the program hung."""
    tasks = []

    def is_behind(_frame, event, argument):
        return event == "c_return" and argument.__name__ == behind

    async def prepare():
        broker = Broker(path)
        await broker.start()
        remote, local = await EventBus.connect(path), await EventBus.from_broker(broker)
        return broker, remote, local, await remote.subscribe("events.socket"), await local.subscribe("events.process")

    with asyncio.Runner() as runner:
        broker, remote, local, over_socket, in_process = runner.run(prepare())

        async def interrupted():
            tasks.append(asyncio.create_task(over_socket.get()))
            await asyncio.sleep(0)
            with Interrupter(1, is_behind, KeyboardInterrupt):
                await local.publish(process(1), topic="events.socket")
                await tasks[0]

        with pytest.raises(KeyboardInterrupt):
            runner.run(interrupted())

        async def after():
            reading = asyncio.create_task(in_process.get())
            await asyncio.sleep(0)
            # By a thread: a publish on the loop's own thread writes no wake-up.
            await asyncio.to_thread(local.publish_nowait, process(2), topic="events.process")
            assert (await asyncio.wait_for(reading, 5)).event.pid == 2
            assert (await asyncio.wait_for(tasks[0], 5)).event.pid == 1
            await remote.shutdown()
            await local.shutdown()
            await broker.shutdown()

        runner.run(after())


async def test_woken_readers_may_close_what_woke_them(path):
    """Each closes its bus from inside the callback of the very connection that it ends."""
    async with Broker(path):
        for _ in range(50):
            bus = await EventBus.connect(path)
            events = await bus.subscribe("events.#")

            async def read_and_close(bus=bus, events=events):
                received = await events.get()
                await events.close()
                await bus.shutdown()
                return received.event.pid

            reader = asyncio.create_task(read_and_close())
            await asyncio.sleep(0)
            await bus.publish(process(5))
            assert await asyncio.wait_for(reader, 5) == 5


async def test_a_woken_reader_runs_in_its_own_context_and_task(path):
    mark = contextvars.ContextVar("mark", default="nobody")
    async with Broker(path), EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
        seen = []

        async def read(name):
            mark.set(name)
            for _ in range(3):
                await events.get()
                seen.append((mark.get(), asyncio.current_task().get_name()))

        readers = [asyncio.create_task(read(name), name=name) for name in ("a", "b")]
        for number in range(6):
            await bus.publish(process(number))
            await asyncio.sleep(0.01)
        await asyncio.wait_for(asyncio.gather(*readers), 5)
        assert len(seen) == 6
        assert all(context == task for context, task in seen)
        assert mark.get() == "nobody"


async def test_a_forgotten_wait_is_collected_and_loses_nothing(path):
    """A waiting coroutine is dropped without being closed: its waiter must leave the queue."""
    async with Broker(path), EventBus.connect(path) as bus, bus.subscribe("events.#") as events:

        async def wait():
            return await events.get()

        # Each collection looks at all that the whole run of tests keeps.
        for _ in range(10):
            forgotten = wait()
            forgotten.send(None)
            watch = weakref.ref(forgotten)
            del forgotten
            gc.collect()
            assert watch() is None
        await bus.publish(process(9))
        assert (await events.get(timeout=5)).event.pid == 9


class Note:
    """Somebody's reason to cancel."""


async def test_a_reason_to_cancel_that_leads_back_to_the_wait_is_collected(path):
    async with Broker(path), EventBus.connect(path) as bus, bus.subscribe("events.#") as events:

        async def wait():
            return await events.get()

        reading = wait()
        note = Note()
        note.wait = reading.send(None)
        note.wait.cancel(note)
        with contextlib.suppress(asyncio.CancelledError):
            reading.send(None)
        watch = weakref.ref(note)
        del reading, note
        gc.collect()
        assert watch() is None


async def test_an_operation_held_on_to_is_not_issued_again(path):
    async with Broker(path), EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
        held = bus.publish(process(0))
        await held
        other = bus.publish(process(1))
        assert other is not held
        await other
        with pytest.raises(RuntimeError, match="awaited already"):
            await held
        assert [(await events.get(timeout=5)).event.pid for _ in range(2)] == [0, 1]
        with pytest.raises(TimeoutError):
            await events.get(timeout=0.05)
