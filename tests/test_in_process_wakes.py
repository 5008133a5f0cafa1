"""In process, a publish on the loop's thread wakes a reader of that loop without the kernel between them."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time

import pytest

from daemoneye_eventbus import Broker, ClientConfig, EventBus
from support import eventually, pids, process

MESSAGES = 50


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts how often the kernel told it of something to read."""

    def __init__(self):
        super().__init__()
        self.told = 0

    def add_reader(self, fd, callback, *args):
        def counted(*given):
            self.told += 1
            callback(*given)

        return super().add_reader(fd, counted, *args)


def run_counted(main):
    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        loop = runner.get_loop()
        runner.run(main(loop))


@pytest.mark.parametrize("way", ["publish", "publish_many"])
def test_a_reader_is_woken_by_the_loop_itself(path, way):
    async def main(loop):
        async with (
            Broker(path) as broker,
            EventBus.from_broker(broker) as bus,
            bus.subscribe("events.#") as subscription,
        ):
            await asyncio.sleep(0.05)
            before = loop.told
            for number in range(MESSAGES):
                wait = asyncio.create_task(subscription.get(timeout=10))
                await asyncio.sleep(0)
                if way == "publish":
                    await bus.publish(process(number))
                else:
                    await bus.publish_many([process(number)])
                assert pids([await wait]) == [number]
            assert loop.told - before < MESSAGES // 10

    run_counted(main)


def test_a_reader_is_woken_from_another_thread(path):
    async def main(loop):
        async with (
            Broker(path) as broker,
            EventBus.from_broker(broker) as bus,
            bus.subscribe("events.#") as subscription,
        ):
            for number in range(MESSAGES):
                wait = asyncio.create_task(subscription.get(timeout=10))
                await asyncio.sleep(0)
                await asyncio.to_thread(bus.publish_nowait, process(number))
                assert pids([await wait]) == [number]

    run_counted(main)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="sends a signal")
def test_a_reader_is_woken_by_a_signal_handler_that_publishes_while_the_loop_sleeps(path):
    async def main():
        async with (
            Broker(path) as broker,
            EventBus.from_broker(broker) as bus,
            bus.subscribe("events.#") as subscription,
        ):
            before = signal.signal(signal.SIGUSR1, lambda *_: bus.publish_nowait(process(7)))
            sender = threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGUSR1])
            sender.start()
            try:
                assert pids([await subscription.get(timeout=10)]) == [7]
            finally:
                sender.join()
                signal.signal(signal.SIGUSR1, before)

    started = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - started < 9


def test_a_reader_is_woken_by_what_is_published_between_two_runs_of_its_loop(path):
    with asyncio.Runner() as runner:
        broker = Broker(path)
        runner.run(broker.start())

        async def open_bus():
            return await EventBus.from_broker(broker, config=ClientConfig())

        bus = runner.run(open_bus())

        async def subscribe():
            subscription = await bus.subscribe("events.#")
            return subscription, asyncio.create_task(subscription.get(timeout=10))

        async def one_turn():
            opened = await subscribe()
            await asyncio.sleep(0)
            return opened

        subscription, wait = runner.run(one_turn())
        bus.publish_nowait(process(7))

        async def take():
            return await wait

        assert pids([runner.run(take())]) == [7]

        async def close():
            await subscription.close()
            await bus.shutdown()
            await broker.shutdown()

        runner.run(close())


@pytest.mark.parametrize("error", [KeyboardInterrupt, ArithmeticError])
def test_a_handler_that_raises_before_a_dispatch_loses_no_wake_up(path, error):
    """At every point where the interpreter runs handlers. The loop drops the callback, on which all wake-ups rely."""
    ours = {"_dispatch_soon", "dispatch_soon", "dispatch", "_dispatch_tokens"}
    looks = 0

    def interrupt_at(number):
        def profile(frame, event, _argument):
            nonlocal looks
            code = frame.f_code
            in_ours = "daemoneye_eventbus" in code.co_filename and code.co_name in ours
            of_loop = code.co_name == "_run" and "CallbackWithFallback" in repr(frame.f_locals["self"])
            if event in ("call", "c_return") and (in_ours or of_loop):
                looks += 1
                if looks == number:
                    sys.setprofile(None)
                    raise error

        return profile

    async def interrupted(bus, number):
        events = await bus.subscribe("events.#")
        reading = asyncio.create_task(events.get())
        await asyncio.sleep(0)
        started.append((events, reading))
        sys.setprofile(interrupt_at(number))
        try:
            await bus.publish(process(number))
            await asyncio.wait({reading}, timeout=0.2)
        finally:
            sys.setprofile(None)

    async def after(number):
        events, reading = started.pop()
        assert pids([await asyncio.wait_for(reading, 5)]) == [number]
        await events.close()

    async def prepare():
        broker = Broker(path)
        await broker.start()
        return broker, await EventBus.from_broker(broker)

    async def finish():
        await bus.shutdown()
        await broker.shutdown()

    started = []
    number = 0
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda _loop, _context: None)
        broker, bus = runner.run(prepare())
        while looks >= number:
            number += 1
            looks = 0
            with contextlib.suppress(error):
                runner.run(interrupted(bus, number))
            runner.run(after(number))
        runner.run(finish())
    assert number > 5


async def test_an_event_that_a_thread_of_ours_drops_is_let_go_without_anybodys_call(path, program):
    """The broker's thread cannot free it, and the loop, which has nothing else to do, is woken for that."""
    count, event = 100, process(1)
    async with (
        Broker(path) as broker,
        EventBus.from_broker(broker) as bus,
        bus.subscribe("events.#", queue_messages=count),
    ):
        source = program("publisher.py", path, count, {"wait": True})
        await source.answer()
        for _ in range(count):
            await bus.publish(event)
        held = sys.getrefcount(event)
        source.tell()
        assert await source.answer() == {"published": count}
        await eventually(lambda: sys.getrefcount(event) <= held - count, what="a queued event")
        await asyncio.to_thread(source.finish)
