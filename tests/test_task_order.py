"""Tasks that begin one after the other are served in that order, however often they yield to the loop in between.

What ``asyncio.gather`` of many calls promises with an ``asyncio.Queue``: results and events stand as the calls did.
"""

import asyncio

import pytest
import pytest_asyncio

from daemoneye_eventbus import Broker, ClientConfig, EventBus, Subscription
from support import collect, eventually, pids, process

# Several times what a bus publishes, and a subscription hands over, without giving the loop a turn.
MANY = 1500
IN_ORDER = list(range(MANY))


@pytest_asyncio.fixture
async def bus(kind, path):
    config = ClientConfig(pool=False, congestion="block", send_buffer_bytes=65_536)
    async with (
        Broker(path) as broker,
        EventBus.from_broker(broker, config=config)
        if kind == "inproc"
        else EventBus.connect(path, config=config) as bus,
    ):
        yield bus


async def publish_one_by_one(bus: EventBus, events: Subscription) -> None:
    for number in IN_ORDER:
        await bus.publish(process(number))
    await bus.flush()
    await eventually(lambda: events.pending == MANY)


async def test_events_of_gathered_publishes_stand_in_their_order(bus):
    async with bus.subscribe("events.#") as events:
        await asyncio.gather(*(bus.publish(process(number)) for number in IN_ORDER))
        got = await collect(events, MANY)
        assert pids(got) == IN_ORDER
        assert [item.sequence for item in got] == sorted(item.sequence for item in got)


async def test_gathered_gets_of_what_is_there_stand_in_their_order(bus):
    async with bus.subscribe("events.#") as events:
        await publish_one_by_one(bus, events)
        assert pids(await asyncio.gather(*(events.get(5) for _ in IN_ORDER))) == IN_ORDER


async def test_gathered_gets_of_what_is_to_come_stand_in_their_order(bus):
    async with bus.subscribe("events.#") as events:
        waiting = asyncio.gather(*(events.get() for _ in IN_ORDER))
        await asyncio.sleep(0.05)
        await bus.publish_many(map(process, IN_ORDER))
        assert pids(await waiting) == IN_ORDER


async def test_who_gives_up_while_others_have_a_turn_leaves_the_order_of_the_rest(bus):
    async with bus.subscribe("events.#") as events:
        tasks = [asyncio.create_task(bus.publish(process(number))) for number in IN_ORDER]
        await asyncio.sleep(0)
        left = [number for number, task in enumerate(tasks) if not (number % 3 == 0 and task.cancel())]
        await asyncio.gather(*tasks, return_exceptions=True)
        assert len(left) < MANY
        assert pids(await collect(events, len(left))) == left
        # Nor does it keep anybody from going on.
        await publish_one_by_one(bus, events)


async def test_batches_among_single_calls_keep_their_order(bus):
    """``publish_many`` and ``get_many`` too."""
    async with bus.subscribe("events.#") as events:
        starts = range(0, MANY, 10)
        calls = [bus.publish_many([process(start)]) if start % 20 else bus.publish(process(start)) for start in starts]
        await asyncio.gather(*calls)
        got = await asyncio.gather(*(events.get_many(1, 5) if start % 30 else events.get(5) for start in starts))
        assert pids([item[0] if isinstance(item, list) else item for item in got]) == list(starts)


@pytest.mark.parametrize("end", ["flush", "drain", "shutdown"])
def test_what_was_begun_before_is_published_before_the_end(run, kind, path, end):
    async def main() -> None:
        async with Broker(path) as broker:
            bus = await (EventBus.from_broker(broker) if kind == "inproc" else EventBus.connect(path))
            await bus.flush()
            # Fewer than take a millisecond, after which a bus in the broker's process gives the loop a turn anyhow.
            publishes = [asyncio.create_task(bus.publish(process(number))) for number in range(100)]
            await asyncio.create_task(getattr(bus, end)())
            assert bus.local_statistics()["published"] == 100
            await asyncio.gather(*publishes)
            await bus.shutdown()

    run(main())


async def test_tasks_that_go_on_and_on_keep_their_turns(bus):
    """Each publishes as much in its turn as one alone would: fewer by far are the turns than the events."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def publish(begin: int) -> None:
        for number in range(begin, MANY, 3):
            await bus.publish(process(number))

    async with bus.subscribe("events.#") as events:
        counting = asyncio.create_task(count())
        await asyncio.gather(*map(publish, range(3)))
        counting.cancel()
        assert turns < MANY / 2
        assert sorted(pids(await collect(events, MANY))) == IN_ORDER


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("call", ["get", "get with a timeout", "anext", "get_many"])
def test_readers_that_were_woken_in_vain_keep_their_places(run, path, call, times):
    """What the first of those that wait was woken for is taken by somebody who does not wait."""

    async def read(events: Subscription, name: str, served: list[str]) -> None:
        if call == "anext":
            await anext(events)
        elif call == "get_many":
            await events.get_many(1)
        else:
            await events.get(*([30] if call == "get with a timeout" else []))
        served.append(name)

    async def main() -> None:
        async with Broker(path) as broker, EventBus.from_broker(broker) as bus, bus.subscribe("events.#") as events:
            served: list[str] = []
            readers = [asyncio.create_task(read(events, name, served)) for name in "abc"]
            await asyncio.sleep(0)
            for number in range(times):
                await bus.publish(process(number))
                assert events.get_nowait().event.pid == number
                for _ in range(3):
                    await asyncio.sleep(0)
            late = asyncio.create_task(read(events, "d", served))
            await asyncio.sleep(0)
            for number in range(1, 5):
                await bus.publish(process(number))
                await eventually(lambda number=number: len(served) == number)
            await asyncio.gather(*readers, late)
            assert served == list("abcd")

    run(main())
