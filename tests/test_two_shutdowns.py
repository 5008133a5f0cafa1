"""Two calls that close the same thing at once: both return when it is closed, and either can be cancelled."""

import asyncio
import contextlib
import os
import socket

import pytest

from daemoneye_eventbus import Broker, ClientConfig, EventBus, SubscriptionClosed
from raw import PATIENCE, Raw, info
from support import process

CLOSERS = ("shutdown", "drain")


class Stage:
    """A bus that says goodbye to a broker that does not answer that before it is told to, nor an UNSUB ever."""

    def __init__(self, path):
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._listener.settimeout(PATIENCE)
        self._serving = []
        self._heard, self._answers = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def _serve(self):
        with contextlib.closing(Raw.of(self._listener.accept()[0])) as peer:
            peer.expect("CONNECT")
            peer.say("INFO", **info())
            while (heard := peer.hear())[0] != "BYE":
                verb, fields = heard
                if verb == "SUB":
                    peer.say("OK", id=fields["id"])
                elif verb != "UNSUB":
                    assert verb == "PING"
                    peer.say("PONG", **fields)
            self._loop.call_soon_threadsafe(self._heard.set)
            asyncio.run_coroutine_threadsafe(self._answers.wait(), self._loop).result(10)

    async def __aenter__(self):
        return self

    async def __aexit__(self, raised, *_more):
        self.answer()
        # Whoever waits for a connection gets none any more; elsewhere than on Linux that may take its time.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        # What failed first is not hidden by what came of it.
        await asyncio.gather(*self._serving, return_exceptions=raised is not None)

    def serve(self):
        """One more connection."""
        self._serving.append(asyncio.create_task(asyncio.to_thread(self._serve)))

    async def connect(self, path):
        self.serve()
        return await EventBus.connect(path, config=ClientConfig(pool=False))

    async def begin(self, path, how):
        """The bus, and the call that has said goodbye."""
        bus = await self.connect(path)
        return bus, await self.close(bus, how)

    async def close(self, bus, how):
        """The call that has said goodbye."""
        first = asyncio.create_task(getattr(bus, how)())
        await asyncio.wait_for(self._heard.wait(), 10)
        return first

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


@pytest.mark.parametrize("how", CLOSERS)
async def test_a_subscription_waits_for_its_bus(path, how):
    """Until then not all that it lost is counted."""
    async with Stage(path) as stage:
        bus = await stage.connect(path)
        events = await bus.subscribe("events.#")
        first = await stage.close(bus, how)
        second = asyncio.create_task(events.close())
        await turns()
        assert (first.done(), second.done()) == (False, False)
        stage.answer()
        await asyncio.wait_for(second, 1)
        await first


@pytest.mark.parametrize("how", CLOSERS)
async def test_a_broker_that_does_not_confirm_is_logged(path, caplog, how):
    """Nothing was, though what it still had is missing in `dropped`."""
    async with Stage(path) as stage:
        bus = await stage.connect(path)
        stage.serve()
        events = await bus.subscribe("events.#", overflow="block")
        await getattr(bus, how)()
        said = [record.getMessage() for record in caplog.records]
        assert ["bus" in one for one in said] == [True, False]
        assert all("did not confirm the end" in one for one in said)
        assert events.subscriber_id in said[1]


@pytest.mark.parametrize("cancelled", [None, 0, 1])
@pytest.mark.parametrize("first", ["close", "unsubscribe"])
@pytest.mark.parametrize("overflow", ["drop_oldest", "block"])
async def test_of_a_subscription(path, program, overflow, first, cancelled):
    """The second returned at once, and what was lost was not counted yet; or never, if the first was cancelled."""
    broker = program("broker.py", path)
    broker.json()
    async with (
        EventBus.connect(path, config=ClientConfig(pool=False)) as reader,
        EventBus.connect(path, config=ClientConfig(pool=False)) as writer,
    ):
        events = await reader.subscribe("events.#", queue_messages=10, overflow=overflow)
        for number in range(500):
            await writer.publish(process(number, "x" * 5000))
        await writer.flush()
        broker.freeze()
        begun = asyncio.create_task(events.close() if first == "close" else reader.unsubscribe(events.subscriber_id))
        await turns()
        calls = [begun, asyncio.create_task(events.close())]
        await turns()
        assert not any(call.done() for call in calls)
        with pytest.raises(SubscriptionClosed):
            await reader.unsubscribe(events.subscriber_id)
        if cancelled is not None:
            calls[cancelled].cancel()
            await turns()
            assert calls[cancelled].cancelled()
            assert not calls[1 - cancelled].done()
        broker.thaw()
        left = [call for number, call in enumerate(calls) if number != cancelled]
        await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        assert events.dropped == 500
        await asyncio.gather(*left)
        await asyncio.wait_for(events.close(), 1)
    broker.finish()


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
