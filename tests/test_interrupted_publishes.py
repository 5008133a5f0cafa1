"""Signal handlers that raise at any moment of a publish: the caller is told what was published, no other is stopped."""

import asyncio
import contextlib

import pytest

from daemoneye_eventbus import Broker, BrokerConfig, ClientConfig, EventBus
from interrupter import RUNS_HANDLERS, at_each_point
from support import eventually, pids, process, take_all


def near(*files):
    """Points in the code of these files and in what it calls."""

    def is_point(frame, event, _argument):
        own = [one.f_code.co_filename for one in (frame, frame.f_back) if one is not None]
        return event in RUNS_HANDLERS and any(name.endswith(files) for name in own)

    return is_point


WAITING = near("_publishing.py", "_backpressure.py")


def told(error, counted):
    """What an exception says; one that came before Python's half of the call had begun says nothing."""
    return getattr(error, "accepted", counted)


async def read(events, got):
    """To the end, although handlers may raise in a reader as well."""
    while True:
        with contextlib.suppress(ArithmeticError):
            async for item in events:
                got.append(item.event.pid)
            return


@pytest.mark.parametrize("roomy", [False, True], ids=["alone", "beside one with room"])
@pytest.mark.parametrize("call", ["publish", "publish_many"])
def test_a_handler_that_raises_while_a_publish_waits_stops_no_other_and_is_told_what_was_published(path, call, roomy):
    """A publish that it ended was once waited for by all others without end, or was published all the same."""

    async def interrupted(bus, interrupter):
        got, before = [], bus.local_statistics()["published"]
        async with (
            bus.subscribe("events.#", queue_messages=1, overflow="block") as events,
            bus.subscribe("events.#" if roomy else "health.#") as others,
        ):
            await bus.publish(process(0))
            waiting = bus.publish(process(1)) if call == "publish" else bus.publish_many(map(process, range(1, 4)))
            with interrupter:
                publishing = asyncio.create_task(waiting)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                reading = asyncio.create_task(read(events, got))
                await asyncio.wait([publishing], timeout=5)
            error = publishing.exception()
            counted = bus.local_statistics()["published"] - before - 1
            accepted = (1 if call == "publish" else 3) if error is None else told(error, counted)
            assert accepted == counted
            end = type(error)
            # Its traceback may hold what was never begun.
            del error, publishing
            for pid in (10, 11):
                await bus.publish(process(pid))
            await eventually(lambda: 11 in got)
            reading.cancel()
            published = [0, *range(1, accepted + 1), 10, 11]
            if roomy:
                assert pids(take_all(others)) == published
                # What was given up is lost to the one without room.
                published = [pid for pid in published if pid in got]
                assert len(got) + events.dropped == accepted + 3
            assert got == published
        return end

    async def run():
        ends = []

        async def once(interrupter):
            ends.append(await interrupted(bus, interrupter))

        config = ClientConfig(congestion="block", publish_timeout=0.3)
        async with Broker(path) as broker, EventBus.from_broker(broker, config=config) as bus:
            await at_each_point(once, WAITING, least=20)
        assert set(ends) == {ArithmeticError, type(None)}

    asyncio.run(run())


@pytest.mark.parametrize("where", ["over_socket", "in_process"])
def test_a_handler_that_raises_in_publish_many_is_told_what_was_published(path, where):
    """Also where it raises as the loop is asked to write or to wake readers, or before the count is with Python."""
    count = 100

    async def interrupted(bus, interrupter):
        before = bus.local_statistics()["published"]
        async with bus.subscribe("events.#") as events:
            got = []
            reading = asyncio.create_task(read(events, got))
            await asyncio.sleep(0)
            try:
                with interrupter:
                    accepted = await bus.publish_many(map(process, range(count)))
            except ArithmeticError as error:
                accepted = told(error, 0)
            assert accepted == bus.local_statistics()["published"] - before
            await bus.publish(process(count))
            await eventually(lambda: count in got)
            assert got == [*range(accepted), count]
            reading.cancel()
        return accepted

    async def run():
        counts = set()

        async def once(interrupter):
            counts.add(await interrupted(bus, interrupter))

        async with Broker(path) as broker:
            opening = EventBus.connect(path) if where == "over_socket" else EventBus.from_broker(broker)
            async with opening as bus:
                await at_each_point(once, near("_publishing.py", "_connection.py", "_loop.py"), least=20)
        assert {0, count} < counts
        assert min(counts - {0}) <= 2

    asyncio.run(run())


def test_a_handler_that_raises_while_others_are_tried_leaves_nobody_waiting(path):
    """The bus went on believing that somebody waits, and took nothing more at once."""

    async def interrupted(bus, interrupter):
        async with bus.subscribe("events.#", queue_bytes=4000, overflow="block") as events:
            await bus.publish(process(0, "x" * 3000))
            # Only the second fits, once the first is given up.
            large, small = (asyncio.create_task(bus.publish(process(*one))) for one in ((1, "x" * 3000), (2, "x")))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            with interrupter, contextlib.suppress(ArithmeticError):
                large.cancel()
                await asyncio.wait([large, small], timeout=5)
            _done, pending = await asyncio.wait([large, small], timeout=5)
            assert not pending
            bus.publish_nowait(process(3))
            assert pids(take_all(events))[-1] == 3

    async def run():
        config = ClientConfig(congestion="block", publish_timeout=20)
        # Where a handler raises in the very step that leaves the queue, the next try comes only after this.
        served = BrokerConfig(stall_timeout=0.2)
        async with Broker(path, config=served) as broker, EventBus.from_broker(broker, config=config) as bus:
            await at_each_point(lambda interrupter: interrupted(bus, interrupter), WAITING, least=10)

    asyncio.run(run())
