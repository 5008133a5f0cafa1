"""Signal handlers that raise or publish, at any moment: no other wait, connection or event is affected."""

import asyncio
import contextlib
import errno
import signal
import sys
import threading
import time

import pytest

from daemoneye_eventbus import Broker, ClientConfig, EventBus
from interrupter import Interrupter, at_each_point, interrupters, within
from support import process


@pytest.mark.parametrize("error", [KeyboardInterrupt, ArithmeticError])
@pytest.mark.parametrize("where", ["over_socket", "in_process"])
def test_a_handler_that_raises_during_a_wake_up_loses_none(path, error, where):
    """At each line between the wake-up and the reader. It once slept for ever, with messages in its queue."""
    on_the_way = {"drain", "dispatch", "_dispatch_tokens", "_notify_listeners", "notify", "wake_one"}
    lines = 0

    def interrupt_at(number):
        def trace(frame, event, _argument):
            nonlocal lines
            if "daemoneye_eventbus" not in frame.f_code.co_filename or frame.f_code.co_name not in on_the_way:
                return None
            if event == "line":
                lines += 1
                if lines == number:
                    sys.settrace(None)
                    raise error
            return trace

        return trace

    async def prepare():
        broker = Broker(path)
        await broker.start()
        return broker, await EventBus.connect(path), await EventBus.from_broker(broker)

    async def interrupted(reader, local, number):
        events = await reader.subscribe("events.#")
        reading = asyncio.create_task(events.get())
        started.append((events, reading))
        await asyncio.sleep(0)
        sys.settrace(interrupt_at(number))
        try:
            # By a thread: a publish on the loop's own thread writes no wake-up.
            await asyncio.to_thread(local.publish_nowait, process(number))
            await asyncio.wait_for(asyncio.shield(reading), 1)
        finally:
            sys.settrace(None)

    async def after(number):
        events, reading = started.pop()
        assert (await asyncio.wait_for(reading, 5)).event.pid == number
        await events.close()

    async def finish(*buses):
        for bus in buses:
            await bus.shutdown()
        await broker.shutdown()

    started = []
    number = 0
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda _loop, _context: None)
        broker, remote, local = runner.run(prepare())
        reader = remote if where == "over_socket" else local
        while lines >= number:
            number += 1
            lines = 0
            with contextlib.suppress(error):
                runner.run(interrupted(reader, local, number))
            runner.run(after(number))
        runner.run(finish(remote, local))
    assert number > 10


@pytest.mark.parametrize("read", ["get", "get_with_timeout", "get_many", "iterate"])
@pytest.mark.parametrize("moment", ["waiting", "woken", "leaving"])
def test_a_handler_that_raises_in_a_reader_loses_no_wake_up_of_others(path, read, moment):
    """At every point of the reader's own code where the interpreter runs handlers.

    The next reader once waited behind a waiter that no task awaited any more, or was not woken for what the interrupted
    one left.
    """
    ways = {
        "get": lambda events: events.get(),
        "get_with_timeout": lambda events: events.get(timeout=30),
        "get_many": lambda events: events.get_many(1),
        "iterate": lambda events: anext(events),
    }

    async def reads(events):
        with contextlib.suppress(ArithmeticError):
            await ways[read](events)

    async def interrupted(bus, interrupter):
        def during(this):
            return interrupter if this == moment else contextlib.nullcontext()

        async with bus.subscribe("events.#") as events:
            with during("waiting"):
                first = asyncio.create_task(reads(events))
                await asyncio.sleep(0)
            second = asyncio.create_task(reads(events))
            await asyncio.sleep(0)
            with during("leaving"):
                if moment == "leaving":
                    first.cancel()
                    await asyncio.sleep(0)
            try:
                with during("woken"):
                    # By a thread, and more than the first may take along.
                    await asyncio.to_thread(lambda: [bus.publish_nowait(process(1)) for _ in range(2)])
                    await asyncio.wait_for(second, 5)
            finally:
                first.cancel()
                await asyncio.gather(first, return_exceptions=True)

    async def run():
        async with Broker(path) as broker, EventBus.from_broker(broker) as bus:
            points = within("_subscription.py", "_waiters.py")
            await at_each_point(lambda interrupter: interrupted(bus, interrupter), points, least=2)

    asyncio.run(run())


@pytest.mark.parametrize(
    "error", [ArithmeticError(), OSError(errno.EIO, "no error of the kernel's")], ids=["any", "os"]
)
@pytest.mark.parametrize("what", ["unread", "unwritten"])
def test_a_handler_that_raises_while_watching_changes_leaves_nothing_unread_or_unwritten(path, what, error):
    """A connection that was taken for watched, and was not, was once neither read again nor written to."""
    watching = {"add_reader", "remove_reader", "add_writer", "remove_writer"}
    listing = {"register", "modify", "unregister"}
    ours = within("_reading.py")

    def is_point(frame, event, argument):
        code = frame.f_code
        # Between the selector's list and the kernel's.
        selector = code.co_filename.endswith("selectors.py") and code.co_name in listing and event == "c_return"
        watches = code.co_name in watching and event in ("call", "return")
        return ours(frame, event, argument) or selector or watches

    async def read(events):
        while True:
            with contextlib.suppress(type(error)):
                return await events.get()

    async def unread(remote, local, events):
        # The second is not on its way when reading stops for the first.
        for _ in range(2):
            for pid in range(3):
                with contextlib.suppress(type(error)):
                    await local.publish(process(pid))
            await asyncio.sleep(0.01)
            for pid in range(3):
                assert (await asyncio.wait_for(read(events), 5)).event.pid == pid
            await asyncio.sleep(0.01)

    async def unwritten(remote, local, events):
        # More than the kernel takes, and less than the send buffer.
        for pid in range(40):
            with contextlib.suppress(type(error)):
                remote.publish_nowait(process(pid, command_line="x" * 50_000))
        await asyncio.sleep(0.01)
        for pid in range(40):
            assert (await asyncio.wait_for(read(events), 5)).event.pid == pid

    async def run():
        async def interrupted(interrupter):
            async with remote.subscribe("events.#", queue_messages=2, overflow="block") as events:
                with interrupter:
                    await {"unread": unread, "unwritten": unwritten}[what](remote, local, events)

        block = ClientConfig(congestion="block")
        async with (
            Broker(path) as broker,
            EventBus.from_broker(broker) as local,
            EventBus.connect(path, config=block) as remote,
        ):
            await at_each_point(interrupted, is_point, least=20, error=error)

    asyncio.run(run())


def test_a_handler_that_raises_in_call_soon_loses_no_wake_up(path):
    """A waiter taken out of its queue and not scheduled once waited for ever, for a connection or an answer."""

    def is_point(frame, event, _argument):
        if event not in ("call", "return") or frame.f_code.co_name != "call_soon":
            return False
        return frame.f_back is not None and frame.f_back.f_code.co_filename.endswith(("_waiters.py", "_loop.py"))

    async def visit():
        async with EventBus.connect(path, config=ClientConfig(pool=False)) as bus, bus.subscribe("events.#") as events:
            await bus.publish(process(1))
            assert (await events.get()).event.pid == 1

    async def run():
        told = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context["exception"]))
        async with Broker(path):
            for interrupter in interrupters(is_point, least=8):
                with interrupter:
                    await asyncio.wait_for(visit(), 5)
        assert {type(error) for error in told} == {ArithmeticError}

    asyncio.run(run())


async def test_a_handler_that_raises_before_a_flush_delays_no_later_publish(path):
    """Publishes relied on the flush that the loop had dropped, and later ones waited for up to a second."""
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)

    def flushes(frame, event, _argument):
        code = frame.f_code
        return event == "call" and code.co_name == "_flush" and code.co_filename.endswith("_connection.py")

    async with Broker(path), EventBus.connect(path) as bus, bus.subscribe("events.#") as events:

        async def burst():
            begin = time.monotonic()
            for pid in range(20):
                await bus.publish(process(pid))
            got = 0
            while got < 20:
                got += len(await events.get_many(20, timeout=5))
            return time.monotonic() - begin

        with Interrupter(1, flushes) as interrupter:
            while not interrupter.met:
                await burst()
        assert sorted([await burst() for _ in range(9)])[4] < 0.2
        assert max([await burst() for _ in range(20)]) < 0.9


def test_a_handler_that_raises_before_a_flush_in_process_delays_no_later_publish(path):
    """The same for a bus in the broker's process, for which the loop flushes: all later events were late by 5 ms."""

    def flushes(frame, event, _argument):
        if event != "call" or frame.f_code.co_name != "_run":
            return False
        asked = repr(frame.f_locals["self"])
        return "CallbackWithFallback" in asked or "LocalLink" in asked

    async def prepare():
        broker = Broker(path)
        await broker.start()
        bus, other = await EventBus.from_broker(broker), await EventBus.connect(path)
        return broker, bus, other, await other.subscribe("events.#")

    async def publish():
        for pid in range(20):
            await bus.publish(process(pid))
        await asyncio.sleep(0.01)

    async def burst():
        await asyncio.sleep(0.05)
        while events.pending:
            await events.get_many(100)
        begin = time.monotonic()
        for pid in range(20):
            await bus.publish(process(pid))
        got = 0
        while got < 20:
            got += len(await events.get_many(20, timeout=5))
        return time.monotonic() - begin

    async def finish():
        await other.shutdown()
        await bus.shutdown()
        await broker.shutdown()

    with asyncio.Runner() as runner:
        broker, bus, other, events = runner.run(prepare())
        with Interrupter(1, flushes) as interrupter:
            while not interrupter.met:
                with contextlib.suppress(ArithmeticError):
                    runner.run(publish())
        assert min([runner.run(burst()) for _ in range(20)]) < 0.004
        runner.run(finish())


async def test_a_handler_that_raises_at_the_end_of_a_broker_keeps_it_from_nobody(path):
    """Whoever was next was never told, whatever came after: a bus in its process stayed open for those who watched."""

    async def interrupted(interrupter):
        told = []
        broker = Broker(path)
        await broker.start()
        broker.observe_end(lambda: told.append("first"))
        bus = await EventBus.from_broker(broker)
        broker.observe_end(lambda: told.append("last"))
        watching = asyncio.ensure_future(anext(bus.state_changes()))
        await asyncio.sleep(0)
        with interrupter, contextlib.suppress(ArithmeticError):
            await broker.shutdown()
        await broker.shutdown()
        assert sorted(told) == ["first", "last"]
        assert await asyncio.wait_for(watching, 5) == "closed"
        await bus.shutdown()

    await at_each_point(interrupted, within("_broker_end.py"), least=5)


async def publish_in_a_handler(bus, count, rounds, after, length):
    """In each round the loop sleeps for `length` seconds; a signal comes `after` some, whose handler publishes."""

    def publish(_number, _frame):
        for pid in range(count):
            bus.publish_nowait(process(pid))

    before = signal.signal(signal.SIGUSR1, publish)
    try:
        for _ in range(rounds):
            main = threading.main_thread().ident
            threading.Timer(after, signal.pthread_kill, (main, signal.SIGUSR1)).start()
            await asyncio.sleep(length)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_publish_in_a_handler_while_the_loop_sleeps_is_not_late(path):
    """The loop had a flush scheduled and slept on: the event came up to a second later, with the next confirmation."""
    count, rounds = 300, 3
    late = []
    ready = threading.Event()

    async def read():
        async with Broker(path) as broker, EventBus.from_broker(broker) as bus, bus.subscribe("events.#") as events:
            ready.set()
            for _ in range(count * rounds):
                received = await events.get(timeout=20)
                late.append(time.time_ns() - received.bus_timestamp_ns)

    async def sleep():
        async with EventBus.connect(path) as bus:
            await publish_in_a_handler(bus, count, rounds, 0.1, 1.2)

    reader = threading.Thread(target=lambda: asyncio.run(read()))
    reader.start()
    assert ready.wait(20)
    asyncio.run(sleep())
    reader.join()
    assert len(late) == count * rounds
    assert max(late) < 0.5e9


def test_a_publish_in_a_handler_in_the_brokers_process_is_not_late(path):
    """The loop had a flush scheduled and slept on: the broker's thread wrote the event 5 to 10 ms later."""
    count, rounds = 20, 20
    late: list[list[int]] = []
    ready, read = threading.Event(), threading.Event()

    async def follow():
        async with EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
            ready.set()
            for _ in range(rounds):
                late.append([])
                for _ in range(count):
                    received = await events.get(timeout=20)
                    late[-1].append(time.time_ns() - received.bus_timestamp_ns)
            read.set()

    async def sleep():
        async with Broker(path) as broker, EventBus.from_broker(broker) as bus:
            reader.start()
            assert await asyncio.to_thread(ready.wait, 20)
            await publish_in_a_handler(bus, count, rounds, 0.03, 0.1)
            assert await asyncio.to_thread(read.wait, 20)

    reader = threading.Thread(target=lambda: asyncio.run(follow()))
    asyncio.run(sleep())
    reader.join()
    assert min(map(max, late)) < 4_000_000
