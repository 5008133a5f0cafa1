"""Who is told that a broker has ended, and what becomes of what waited for it."""

import asyncio

import pytest

from daemoneye_eventbus import Broker, ClientConfig, ConnectionClosed, EventBus
from support import process


async def test_a_shutdown_that_is_cancelled_is_told_in_process(path):
    """The broker ends all the same. `state_changes` of a bus in its process once never ended then."""
    broker = Broker(path)
    await broker.start()
    bus = await EventBus.from_broker(broker)

    async def changes() -> list[str]:
        return [state async for state in bus.state_changes()]

    following = asyncio.create_task(changes())
    ending = asyncio.create_task(broker.shutdown())
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert await asyncio.wait_for(following, 20) == ["closed"]
    assert await broker.shutdown() == 0
    await bus.shutdown()


async def test_an_observer_of_the_end_that_fails_stops_no_other(path):
    """Buses in its process are observers too, and must still be told."""
    broker = Broker(path)
    await broker.start()
    told, failures = [], []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context["exception"]))

    def fail(number: int) -> None:
        told.append(number)
        raise ValueError(number)

    for number in range(8):
        broker.observe_end(lambda number=number: fail(number))
    assert await broker.shutdown() == 0
    assert await broker.shutdown() == 0
    assert sorted(told) == list(range(8))
    assert len(failures) == 8


async def test_each_registration_of_an_observer_of_the_end_counts_by_itself(path):
    """A function that was registered twice was told once, or never if one was cancelled."""
    broker, told = Broker(path), []
    await broker.start()
    cancels = [broker.observe_end(lambda name=name: told.append(name)) for name in ("first", "second")]

    def twice() -> None:
        told.append("twice")

    cancels += [broker.observe_end(twice) for _ in range(3)]
    cancels[0]()
    cancels[2]()
    cancels[2]()
    await broker.shutdown()
    assert told == ["second", "twice", "twice"]


async def test_an_observer_that_comes_after_the_end_is_told_at_once(path):
    """It was never told, and went on waiting."""
    ended, cancelled, told = Broker(path), Broker(path), []
    async with ended:
        ended.observe_end(lambda: told.append("before"))()
    ended.observe_end(lambda: told.append("after"))
    assert told == ["after"]
    # A start that is cancelled is an end too.
    cancelled.observe_end(lambda: told.append("cancelled"))
    start = asyncio.create_task(cancelled.start())
    await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert told == ["after", "cancelled"]
    await cancelled.shutdown()


@pytest.mark.parametrize("has_other", [False, True])
async def test_what_waits_in_process_is_lost_and_counted_or_refused(path, has_other):
    """It was neither: the publish succeeded, and no count had its message."""
    broker = Broker(path)
    await broker.start()
    bus = await EventBus.from_broker(broker, config=ClientConfig(congestion="block", publish_timeout=30))
    readers = [await bus.subscribe("events.#", queue_messages=10, overflow="block")]
    if has_other:
        readers.append(await bus.subscribe("events.#"))
    for number in range(10):
        await bus.publish(process(number))
    waiting = asyncio.create_task(bus.publish(process(10)))
    await asyncio.sleep(0)
    # Its task may have given way to others first.
    while has_other and readers[1].pending < 11:
        await asyncio.sleep(0)
    assert not waiting.done()
    assert await broker.shutdown() == int(has_other)
    if has_other:
        await waiting
    else:
        with pytest.raises(ConnectionClosed):
            await waiting
    read = [len(await reader.get_many(20)) for reader in readers]
    assert read == [10, 11][: len(readers)]
    statistics = broker.statistics()
    published = 10 + int(has_other)
    assert statistics.messages_published == bus.local_statistics()["published"] == published
    lost = sum(statistics.dropped.values())
    assert lost == statistics.dropped.get("closed", 0) == sum(reader.dropped for reader in readers)
    assert statistics.messages_delivered + lost == published * len(readers)
    await bus.shutdown()
