"""A close that a signal handler interrupted, at any point of its own code, is finished by the next call."""

import asyncio
import contextlib
import gc
import warnings

import pytest

from daemoneye_eventbus import Broker, ClientConfig, ConnectionClosed, EventBus, SubscriptionClosed
from interrupter import RUNS_HANDLERS, at_each_point
from support import eventually, process

OURS = "/daemoneye_eventbus/"


def is_point(frame, event, _argument):
    """In the package's code, but where what raises goes nowhere: a destructor, or what a weak reference calls."""
    caller = frame.f_back
    in_vain = frame.f_code.co_name == "__del__" or (caller and caller.f_code.co_filename.endswith("weakref.py"))
    return event in RUNS_HANDLERS and OURS in frame.f_code.co_filename and not in_vain


async def run(interrupter, call):
    """Awaits ``call``, interrupted."""
    # A task of its own: a time limit of asyncio's that is interrupted may cancel its task later.
    task = asyncio.create_task(call)
    with interrupter, contextlib.suppress(ArithmeticError):
        await task
    # Until its next turn this one holds the task, and so what was raised and all that it leads to.
    del task, call
    await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def quick_collections():
    """What was there before takes no time in each collection."""
    gc.freeze()
    yield
    gc.unfreeze()


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
        await run(interrupter, events.close())
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
        await at_each_point(interrupted, is_point, least=5)
        await other.publish(process(1))
        await other.flush()


@pytest.mark.parametrize("again", ["shutdown", "drain", "collect"])
@pytest.mark.parametrize("where", ["over_socket", "pooled", "in_process"])
async def test_of_a_bus(path, where, again):
    """Its connection once stayed open, and what it had subscribed; or those of others on the connection were closed."""

    async def interrupted(interrupter):
        bus = await open_bus(where, broker, path)
        events = [await bus.subscribe("events.#", overflow=overflow) for overflow in ("drop_oldest", "block")]
        await run(interrupter, bus.shutdown())
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
            await at_each_point(interrupted, is_point, least=20)
            await other.publish(process(1))
            await other.flush()
        # Also not the connection that all shared.
        await eventually(lambda: at_broker(broker)[0] == 0)


@pytest.mark.parametrize("overflow", ["drop_oldest", "block"])
@pytest.mark.parametrize("where", ["over_socket", "pooled"])
async def test_what_a_subscription_lost_is_counted_by_the_next_close(path, where, overflow):
    """The second one did not wait: what was still on its way was counted later, or by nobody."""

    async def interrupted(interrupter):
        events = await reader.subscribe("events.#", queue_messages=10, overflow=overflow)
        for number in range(100):
            writer.publish_nowait(process(number, "x" * 5000))
        await run(interrupter, events.close())
        await events.close()
        assert events.dropped == 100

    async with Broker(path) as broker, EventBus.from_broker(broker) as writer, open_bus(where, broker, path) as reader:
        await reader.flush()
        alone = at_broker(broker)
        await at_each_point(interrupted, is_point, least=20)
        assert at_broker(broker) == alone
