"""Two calls that close the same thing at once: both return when it is closed, and either can be cancelled."""

import asyncio
import contextlib
import os
import socket

import pytest

from daemoneye_eventbus import Broker, ClientConfig, EventBus
from raw import Raw, info
from support import process

CLOSERS = ("shutdown", "drain")


class Stage:
    """A bus that says goodbye to a broker that does not answer that before it is told to."""

    def __init__(self, path):
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._heard, self._answers = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def _serve(self):
        with contextlib.closing(Raw.of(self._listener.accept()[0])) as peer:
            peer.expect("CONNECT")
            peer.say("INFO", **info())
            while (heard := peer.hear())[0] == "PING":
                peer.say("PONG", **heard[1])
            assert heard[0] == "BYE"
            self._loop.call_soon_threadsafe(self._heard.set)
            asyncio.run_coroutine_threadsafe(self._answers.wait(), self._loop).result(10)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_raised):
        self.answer()
        await self._serving
        self._listener.close()

    async def begin(self, path, how):
        """The bus, and the call that has said goodbye."""
        self._serving = asyncio.create_task(asyncio.to_thread(self._serve))
        bus = await EventBus.connect(path, config=ClientConfig(pool=False))
        first = asyncio.create_task(getattr(bus, how)())
        await asyncio.wait_for(self._heard.wait(), 10)
        return bus, first

    def answer(self):
        self._answers.set()


async def turns():
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("second", CLOSERS)
@pytest.mark.parametrize("first", CLOSERS)
async def test_the_second_waits_for_the_first(path, first, second):
    """It returned at once, and the bus was still connected."""
    async with Stage(path) as stage:
        bus, begun = await stage.begin(path, first)
        again = asyncio.create_task(getattr(bus, second)())
        await turns()
        assert (begun.done(), again.done(), bus.state) == (False, False, "closed")
        stage.answer()
        await again
        await turns()
        assert begun.done()
        await begun


async def test_a_second_that_is_cancelled_leaves_the_first_alone(path):
    async with Stage(path) as stage:
        bus, first = await stage.begin(path, "shutdown")
        second = asyncio.create_task(bus.shutdown())
        await turns()
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert not first.done()
        stage.answer()
        await first


async def test_a_first_that_is_cancelled_is_finished_by_the_second(path):
    async with Stage(path) as stage:
        bus, first = await stage.begin(path, "shutdown")
        second = asyncio.create_task(bus.shutdown())
        await turns()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        # It has nothing to wait for: the first one's goodbye is said.
        await asyncio.wait_for(second, 1)
        await asyncio.wait_for(bus.shutdown(), 1)


@pytest.mark.parametrize("cancelled", [None, 0, 1])
async def test_of_a_broker(path, program, cancelled):
    """Each call waits for the end by itself."""
    broker = Broker(path)
    await broker.start()
    reader = program("subscriber.py", path, {"patterns": ["events.#"], "expect": 10**9})
    await reader.answer()
    reader.freeze()
    async with EventBus.from_broker(broker) as bus:
        for number in range(5000):
            await bus.publish(process(number, "x" * 200))
        calls = [asyncio.create_task(broker.shutdown(0.5)) for _ in range(2)]
        await turns()
        assert not any(call.done() for call in calls)
        if cancelled is not None:
            calls[cancelled].cancel()
        await asyncio.wait(calls)
        for number, call in enumerate(calls):
            assert call.cancelled() is (number == cancelled)
        assert not broker.running
        assert not os.path.exists(path)
    reader.kill()
