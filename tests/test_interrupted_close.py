"""A close that a signal handler interrupted, at any point of its own code, is finished by the next call."""

import asyncio
import contextlib
import gc
import sys
import warnings

import pytest

from daemoneye_eventbus import Broker, ClientConfig, ConnectionClosed, EventBus, SubscriptionClosed
from support import eventually, process

OURS = "/daemoneye_eventbus/"


class Interrupter:
    """Raises at the point of that number, of those in the package's code where the interpreter runs handlers."""

    def __init__(self, number):
        self.number = number
        self.met = 0
        # Kept: the interpreter does not keep what it calls.
        self._trace = self._profile

    async def run(self, call):
        # A task of its own: a time limit of asyncio's that is interrupted may cancel its task later.
        task = asyncio.create_task(call)
        sys.setprofile(self._trace)
        try:
            with contextlib.suppress(ArithmeticError):
                await task
        finally:
            sys.setprofile(None)
        # Until its next turn this one holds the task, and so what was raised and all that it leads to.
        del task, call
        await asyncio.sleep(0)

    def _profile(self, frame, event, _argument):
        if event not in ("call", "c_return") or OURS not in frame.f_code.co_filename:
            return
        # What raises in a destructor, or in what a weak reference calls, goes nowhere.
        caller = frame.f_back
        if frame.f_code.co_name == "__del__" or (caller and caller.f_code.co_filename.endswith("weakref.py")):
            return
        self.met += 1
        if self.met == self.number:
            sys.setprofile(None)
            raise ArithmeticError


async def at_each_point(interrupted, least):
    """Runs ``interrupted`` with one `Interrupter` after the other until none raises any more."""
    # An interrupted callback of the loop is its own affair, and is called again.
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    number = 0
    met = 0
    # What was there before takes no time in each collection.
    gc.freeze()
    try:
        while met >= number:
            number += 1
            interrupter = Interrupter(number)
            await interrupted(interrupter)
            met = interrupter.met
    finally:
        gc.unfreeze()
    assert number > least


def at_broker(broker):
    """What is open there."""
    now = broker.statistics()
    return now.connections, now.active_subscribers, now.active_topics, len(broker.clients())


def open_bus(where, broker, path):
    if where == "in_process":
        return EventBus.from_broker(broker)
    return EventBus.connect(path, config=ClientConfig(pool=where == "pooled"))


@pytest.mark.parametrize("again", ["close", "unsubscribe", "collect", "shutdown"])
@pytest.mark.parametrize("overflow", ["drop_oldest", "block"])
@pytest.mark.parametrize("where", ["over_socket", "pooled", "in_process"])
async def test_of_a_subscription(path, where, overflow, again):
    """It once stayed open at the broker, with its connection if it had one: a second close did nothing."""

    async def interrupted(interrupter):
        bus = await open_bus(where, broker, path)
        before = at_broker(broker)
        events = await bus.subscribe("events.#", overflow=overflow)
        await interrupter.run(events.close())
        if again == "close":
            await events.close()
            with pytest.raises(SubscriptionClosed):
                events.get_nowait()
        elif again == "unsubscribe":
            with contextlib.suppress(SubscriptionClosed):
                await bus.unsubscribe(events.subscriber_id)
        elif again == "collect":
            with warnings.catch_warnings():
                # Of one that had not begun to close.
                warnings.simplefilter("ignore", ResourceWarning)
                del events
                gc.collect()
        else:
            await bus.shutdown()
            before = alone
        await eventually(lambda: at_broker(broker) == before)
        await bus.shutdown()

    async with Broker(path) as broker, open_bus(where, broker, path) as other:
        await other.flush()
        alone = at_broker(broker)
        await at_each_point(interrupted, least=5)
        await other.publish(process(1))
        await other.flush()


@pytest.mark.parametrize("again", ["shutdown", "drain", "collect"])
@pytest.mark.parametrize("where", ["over_socket", "pooled", "in_process"])
async def test_of_a_bus(path, where, again):
    """Its connection once stayed open, and what it had subscribed; or those of others on the connection were closed."""

    async def interrupted(interrupter):
        bus = await open_bus(where, broker, path)
        events = [await bus.subscribe("events.#", overflow=overflow) for overflow in ("drop_oldest", "block")]
        await interrupter.run(bus.shutdown())
        if again in ("shutdown", "drain"):
            await getattr(bus, again)()
            assert bus.state == "closed"
            with pytest.raises(ConnectionClosed):
                await bus.publish(process(1))
        else:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always", ResourceWarning)
                begun = bus.state == "closed"
                events.clear()
                del bus
                gc.collect()
            # One that had begun to shut down was not forgotten.
            assert any("<EventBus" in str(one.message) for one in said) is not begun
        await eventually(lambda: at_broker(broker) == alone)

    async with Broker(path) as broker:
        async with open_bus(where, broker, path) as other:
            await other.flush()
            alone = at_broker(broker)
            await at_each_point(interrupted, least=20)
            await other.publish(process(1))
            await other.flush()
        # Also not the connection that all shared.
        await eventually(lambda: at_broker(broker)[0] == 0)


async def test_a_second_close_does_not_wait_for_the_first(path, program):
    broker = program("broker.py", path)
    broker.json()
    async with EventBus.connect(path, config=ClientConfig(pool=False)) as bus:
        events = await bus.subscribe("events.#")
        broker.freeze()
        first = asyncio.create_task(events.close())
        await asyncio.sleep(0)
        await asyncio.wait_for(events.close(), 1)
        assert not first.done()
        with pytest.raises(SubscriptionClosed):
            await bus.unsubscribe(events.subscriber_id)
        broker.thaw()
        await first
    broker.finish()
