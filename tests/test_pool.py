"""Buses of one process, loop, address and config share a connection, and do not hurt each other."""

import asyncio
import gc
import sys
import threading
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from daemoneye_eventbus import Broker, ClientConfig, ConnectTimeout, EventBus, PathRefused, SubscriptionClosed
from support import collect, eventually, open_bus, pids, process, remote_clients


async def test_two_buses_one_connection(broker, path):
    one = await EventBus.connect(path)
    two = await EventBus.connect(path)
    assert len(broker.clients()) == 1
    other = await EventBus.connect(path, config=ClientConfig(client="other"))
    assert len(broker.clients()) == 2
    solo = await EventBus.connect(path, config=ClientConfig(pool=False))
    alone = await EventBus.connect(path, config=ClientConfig(pool=False))
    assert len(broker.clients()) == 4
    for bus in (one, two, other, solo, alone):
        await bus.shutdown()
    await eventually(lambda: broker.clients() == [], what="clients")


async def test_the_first_to_leave_closes_nothing(broker, path):
    one = await EventBus.connect(path)
    two = await EventBus.connect(path)
    first = await one.subscribe("events.#")
    second = await two.subscribe("events.#")
    for number in range(10):
        await one.publish(process(number))
    await one.shutdown()
    assert len(broker.clients()) == 1
    with pytest.raises(SubscriptionClosed):
        await first.get()
    assert pids(await collect(second, 10)) == list(range(10)), "published before the other left"
    await two.publish(process(10))
    assert pids(await collect(second, 1)) == [10]
    assert (two.state, one.state) == ("connected", "closed")
    await two.drain()
    await eventually(lambda: broker.clients() == [], what="clients")


async def test_each_bus_counts_for_itself(broker, path):
    async with EventBus.connect(path) as one, EventBus.connect(path) as two, one.subscribe("events.#") as events:
        await one.publish(process(1))
        await two.publish(process(2))
        await two.publish(process(3))
        await collect(events, 3)
        assert one.local_statistics()["published"] == 1
        assert two.local_statistics()["published"] == 2
        assert [b.local_statistics()["delivered"] for b in (one, two)] == [3, 0]


async def test_equal_ids_on_two_pooled_buses(broker, path):
    from daemoneye_eventbus import EventSubscription, SourceCaps

    wish = EventSubscription(
        subscriber_id="same",
        capabilities=SourceCaps(event_types=["process"], collectors=[], max_priority=0),
    )
    async with EventBus.connect(path) as one, EventBus.connect(path) as two:
        async with one.subscribe(wish) as first, two.subscribe(wish) as second:
            await one.publish(process(1))
            assert pids(await collect(first, 1)) == pids(await collect(second, 1)) == [1]
            await one.unsubscribe("same")
            await two.publish(process(2))
            assert pids(await collect(second, 1)) == [2]


async def test_a_block_subscription_has_its_own_connection(broker, path):
    async with EventBus.connect(path) as bus:
        async with bus.subscribe("events.#", overflow="block") as events:
            assert len(broker.clients()) == 2
            await bus.publish(process(1))
            assert pids(await collect(events, 1)) == [1]
        await eventually(lambda: len(broker.clients()) == 1, what="clients")


def test_loops_do_not_share(path, program):
    """One pool entry per loop: two threads with a loop each have a connection each."""
    broker = program("broker.py", path)
    broker.json()
    together = threading.Barrier(2)
    seen, errors = [], []

    async def main():
        async with EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
            await asyncio.to_thread(together.wait, 10)
            await bus.publish(process(threading.get_ident() & 0xFFFF))
            seen.append(len(await collect(events, 2)))
            await asyncio.to_thread(together.wait, 10)

    def run():
        try:
            asyncio.run(main())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert errors == []
    assert seen == [2, 2]
    broker.finish()


async def test_loops_of_many_threads_come_and_go(broker, path):
    """The pool is one for the process; what another thread does to it meanwhile is no error of anybody's."""
    rounds, errors = [0] * 4, []

    async def visit() -> None:
        async with EventBus.connect(path):
            pass

    def come_and_go(number: int, end: float) -> None:
        try:
            while time.monotonic() < end:
                asyncio.run(visit())
                rounds[number] += 1
        except Exception as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    async with AsyncExitStack() as stack:
        # Each has a key of its own, so that there is something to walk over.
        for number in range(200):
            await stack.enter_async_context(EventBus.connect(path, config=ClientConfig(client=str(number))))
        sys.setswitchinterval(1e-6)
        try:
            end = time.monotonic() + 2
            threads = [threading.Thread(target=come_and_go, args=(number, end)) for number in range(len(rounds))]
            for thread in threads:
                thread.start()
            for thread in threads:
                await asyncio.to_thread(thread.join)
        finally:
            sys.setswitchinterval(interval)
    assert not errors
    assert all(rounds)
    await eventually(lambda: not remote_clients(broker), what="clients of loops that ended")


def test_a_bus_of_a_closed_loop_still_publishes_after_new_connects(path, program):
    """A later loop that connected with the same settings once closed it."""
    broker = program("broker.py", path)
    broker.json()
    left = []

    async def leave():
        left.append(await EventBus.connect(path))

    async def hear():
        async with EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
            left[0].publish_nowait(process(7))
            assert (await events.get(timeout=10)).event == process(7)

    asyncio.run(leave())
    for _ in range(2):
        asyncio.run(hear())
    assert left[0].state == "connected"
    with pytest.warns(ResourceWarning, match="was forgotten"):
        left.clear()
    broker.finish()


async def test_state_changes_of_a_bus_that_leaves_the_pool_end(broker, path):
    """`state_changes` of a bus that was shut down waited for ever while others used its connection."""
    one, two = await EventBus.connect(path), await EventBus.connect(path)

    async def changes(bus: EventBus) -> list[str]:
        return [state async for state in bus.state_changes()]

    first, second = asyncio.create_task(changes(one)), asyncio.create_task(changes(two))
    await asyncio.sleep(0)
    await one.shutdown()
    assert await asyncio.wait_for(first, 20) == ["closed"]
    assert not second.done()
    await two.shutdown()
    assert await asyncio.wait_for(second, 20) == ["closed"]


async def test_state_changes_of_a_new_bus_begin_after_connect(path, broker):
    """The first of `state_changes` was sometimes `connecting`, although `connect` had returned."""
    for _ in range(60):
        bus = await EventBus.connect(path, config=ClientConfig(pool=False))
        changes = bus.state_changes()
        first = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0.01)
        assert not first.done()
        await bus.shutdown()
        assert await first == "closed"
        await changes.aclose()


async def test_the_changes_of_a_bus_begin_where_they_are_asked_for(path, program):
    """They once began with the first step of the iteration, and lost the changes before it."""
    server = program("broker.py", path)
    server.json()
    async with EventBus.connect(path, config=ClientConfig(pool=False)) as bus:
        changes = bus.state_changes()
        server.kill()
        await eventually(lambda: bus.state == "reconnecting", what="reconnecting")
        await asyncio.sleep(0.01)
        assert await asyncio.wait_for(anext(changes), 5) == "reconnecting"
        await changes.aclose()


async def test_a_wait_for_a_change_that_is_given_up_ends_no_changes(kind, broker, path):
    """The next change was once lost, and the iteration ended as if the bus had been closed."""
    bus = await open_bus(kind, broker, path)
    changes = bus.state_changes()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(changes), 0.01)
    waiting = [asyncio.ensure_future(anext(changes, "no more")) for _ in range(2)]
    await asyncio.sleep(0)
    await bus.shutdown()
    assert await asyncio.wait_for(asyncio.gather(*waiting), 20) == ["closed", "no more"]
    assert [state async for state in changes] == []


async def test_changes_that_nobody_begins_to_follow_leave_nothing_behind(kind, broker, path):
    async with await open_bus(kind, broker, path) as bus:
        bus.state_changes()
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(1000):
            bus.state_changes()
        gc.collect()
        assert len(gc.get_objects()) < before + 500


async def test_each_bus_that_connects_has_its_own_time(path):
    """The second of two that waited for the same broker was told after the first's time that it had waited in vain."""
    config = ClientConfig(connect_timeout=2.0)
    first = asyncio.create_task(EventBus.connect(path, config=config))
    await asyncio.sleep(1.2)
    second, third = (asyncio.create_task(EventBus.connect(path, config=config)) for _ in range(2))
    with pytest.raises(ConnectTimeout):
        await first
    assert not second.done()
    third.cancel()
    async with Broker(path) as broker:
        async with await second as bus:
            assert bus.state == "connected"
            assert len(broker.clients()) == 1


async def test_the_last_of_those_who_wait_is_told_in_time(path):
    config = ClientConfig(connect_timeout=1.0)
    first = asyncio.create_task(EventBus.connect(path, config=config))
    await asyncio.sleep(0.6)
    begin = time.monotonic()
    with pytest.raises(ConnectTimeout, match=r"No such file") as caught:
        await EventBus.connect(path, config=config)
    assert 0.99 < time.monotonic() - begin < 5
    assert caught.value.timeout == 1.0
    assert isinstance(first.exception(), ConnectTimeout)


async def test_connecting_beside_a_bus_that_reconnects_needs_a_broker(path, program):
    """It succeeded at once, without one."""
    broker = program("broker.py", path)
    await broker.answer()
    config = ClientConfig(connect_timeout=0.5)
    async with EventBus.connect(path, config=config) as one:
        broker.kill()
        await eventually(lambda: one.state == "reconnecting", what="reconnecting")
        begin = time.monotonic()
        with pytest.raises(ConnectTimeout) as caught:
            await EventBus.connect(path, config=config)
        assert 0.49 < time.monotonic() - begin < 5
        assert caught.value.timeout == 0.5
        assert one.state == "reconnecting"
        async with Broker(path) as again:
            async with EventBus.connect(path, config=config) as two:
                assert one.state == two.state == "connected"
                assert len(again.clients()) == 1


async def test_connecting_beside_a_bus_that_reconnects_is_refused_at_once(path, program):
    """What time does not change is not waited for; the other bus still does."""
    broker = program("broker.py", path)
    await broker.answer()
    config = ClientConfig(connect_timeout=600.0)
    async with EventBus.connect(path, config=config) as one:
        broker.kill()
        await eventually(lambda: one.state == "reconnecting", what="reconnecting")
        Path(path).unlink()
        Path(path).write_text("")
        with pytest.raises(PathRefused):
            await EventBus.connect(path, config=config)
        assert one.state == "reconnecting"


async def test_connecting_does_not_wait_for_the_pause_of_a_bus_that_reconnects(path, program):
    broker = program("broker.py", path)
    await broker.answer()
    config = ClientConfig(connect_timeout=600.0, reconnect_initial=0.01, reconnect_max=0.01)
    slow = ClientConfig(connect_timeout=600.0, reconnect_initial=3000.0, reconnect_max=3000.0)
    async with EventBus.connect(path, config=config) as one, EventBus.connect(path, config=slow) as two:
        broker.kill()
        await eventually(lambda: {one.state, two.state} == {"reconnecting"}, what="reconnecting")
        async with Broker(path):
            await eventually(lambda: one.state == "connected", what="connected")
            async with await asyncio.wait_for(EventBus.connect(path, config=slow), 20) as three:
                assert two.state == three.state == "connected"
