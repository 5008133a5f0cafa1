"""How such a loop is woken, whatever happens to its tasks, and that nothing is left behind."""

import asyncio
import contextlib
import gc
import os
import warnings

import pytest

from daemoneye_eventbus import Broker, EventBus
from interrupter import interrupters, within
from support import collect, pids, process, take_all


async def test_this_loop_watches_nothing():
    with pytest.raises(NotImplementedError):
        asyncio.get_running_loop().add_reader(0, print)


async def test_the_bus_is_no_task_of_the_loop(broker, path):
    """So code that cancels all tasks, or waits for all of them, does not affect it."""
    async with EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
        await bus.publish(process(1))
        assert pids(await collect(events, 1)) == [1]
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_cancelled_together_with_everything_a_bus_can_still_be_left(broker, path):
    ended, reading = [], asyncio.Event()

    async def work():
        async with EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
            await bus.publish(process(1))
            try:
                reading.set()
                while True:
                    await events.get()
            finally:
                await bus.flush()
                ended.append((await bus.statistics()).messages_published)

    task = asyncio.create_task(work())
    await reading.wait()
    await asyncio.sleep(0)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for other in others:
        other.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(*others, return_exceptions=True)
    assert task.cancelled()
    assert ended == [1]


def test_loops_leave_no_descriptor_behind(run, path, program):
    broker = program("broker.py", path)
    broker.json()

    async def main():
        async with EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
            await bus.publish(process(1))
            assert pids(await collect(events, 1)) == [1]

    def count():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(main())
        before = count()
        for _ in range(20):
            run(main())
        assert count() <= before + 2
    broker.finish()


def test_a_burst_wakes_the_loop_in_batches(run, path, program):
    """A burst from another process is read by the thread, and wakes the loop for batches, not for each event."""
    broker = program("broker.py", path)
    broker.json()

    async def main():
        loop = asyncio.get_running_loop()
        received = 0
        original = loop.sock_recv

        async def counting(*args):
            nonlocal received
            data = await original(*args)
            received += len(data)
            return data

        loop.sock_recv = counting
        async with EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
            for number in range(5000):
                await bus.publish(process(number))
            assert pids(await collect(events, 5000)) == list(range(5000))
        assert 0 < received < 1000, received

    run(main())
    broker.finish()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("of a handler's"), ArithmeticError()], ids=repr)
def test_a_handler_that_raises_while_the_socket_is_read_loses_no_wake_up(run_with, path, error):
    """At every point where the interpreter runs handlers. The loop was once never woken again after that."""

    async def prepare():
        broker = Broker(path)
        await broker.start()
        bus = await EventBus.from_broker(broker)
        return broker, bus, await bus.subscribe("events.#")

    async def publish(number):
        # By a thread: a publish on the loop's own thread writes no wake-up.
        await asyncio.to_thread(bus.publish_nowait, process(number))
        await asyncio.sleep(0.002)

    async def read():
        while True:
            await events.get()

    async def interrupted(interrupter):
        reading = asyncio.create_task(read())
        await asyncio.sleep(0)
        with interrupter:
            for _ in range(3):
                await publish(interrupter.number)
        reading.cancel()

    async def is_still_woken(number):
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await publish(0)
        take_all(events)
        reading = asyncio.create_task(events.get())
        await asyncio.sleep(0)
        await publish(number)
        await asyncio.wait_for(reading, 5)

    with run_with() as runner:
        runner.get_loop().set_exception_handler(lambda _loop, _context: None)
        broker, bus, events = runner.run(prepare())
        for interrupter in interrupters(within("_wakeup_reader.py"), least=10, error=error):
            with contextlib.suppress(type(error)):
                runner.run(interrupted(interrupter))
            runner.run(is_still_woken(interrupter.number))
        runner.run(bus.shutdown())
        runner.run(broker.shutdown())
