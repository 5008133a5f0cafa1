"""Publishers that give their loop a turn stand in one line, which is served whatever happens to the loop."""

import asyncio
import gc
import itertools

import pytest

from daemoneye_eventbus import Broker, EventBus
from support import open_bus, process
from test_loops import Nesting

MANY = 300  # more than four turns of a loop have room for


@pytest.mark.parametrize("kind", ["inproc", "socket"])
def test_the_line_is_served_while_an_interrupt_is_being_handled(kind, path, monkeypatch):
    """Its exception holds the callback that it came before, and nobody scheduled another: all slept for good."""
    run_handle = asyncio.Handle._run
    left = None

    def is_ours(callback):
        # asyncio never runs a task again whose own callback it has lost.
        return "daemoneye" in f"{type(callback).__module__} {getattr(callback, '__module__', None)}"

    def interrupted(handle):
        nonlocal left
        if left is not None and is_ours(handle._callback):
            left -= 1
            if left < 0:
                left = None
                raise KeyboardInterrupt
        return run_handle(handle)

    async def publish_all(bus, after):
        nonlocal left
        tasks = [asyncio.create_task(bus.publish(process(number))) for number in range(MANY)]
        left = after
        await asyncio.gather(*tasks)
        left = None

    async def clean_up(bus):
        async with asyncio.timeout(5):
            await bus.publish(process(MANY))
            await bus.flush(4)

    monkeypatch.setattr(asyncio.Handle, "_run", interrupted)
    with asyncio.Runner() as runner:
        broker = Broker(path)
        runner.run(broker.start())
        interrupts = 0
        for after in range(8):
            bus = runner.run(open_bus(kind, broker, path))
            loop = runner.get_loop()
            try:
                loop.run_until_complete(publish_all(bus, after))
            except KeyboardInterrupt:
                interrupts += 1
                loop.run_until_complete(clean_up(bus))
            loop.run_until_complete(bus.shutdown())
        assert interrupts > 3
        runner.run(broker.shutdown())


async def test_a_publish_that_stands_in_the_line_is_held_by_it(broker):
    """Of a task that nobody else holds; the garbage collector destroyed it."""
    async with EventBus.from_broker(broker) as bus:
        for number in range(MANY):
            asyncio.create_task(bus.publish(process(number)))  # noqa: RUF006  # that is the test
        await asyncio.sleep(0)
        gc.collect()
        await bus.flush()
        assert bus.local_statistics()["published"] == MANY


def test_a_task_that_is_served_may_run_its_loop(path):
    """It went on within the loop's callback, which the loop could not call again for the others."""

    async def nested(bus, others):
        await bus.publish(process(0))
        asyncio.get_running_loop().run_until_complete(asyncio.wait(others))

    async def main():
        async with Broker(path) as broker, EventBus.from_broker(broker) as bus:
            before = [asyncio.create_task(bus.publish(process(number))) for number in range(70)]
            others = []
            nesting = asyncio.create_task(nested(bus, others))
            others += [asyncio.create_task(bus.publish(process(number))) for number in range(100)]
            await asyncio.gather(*before, nesting, *others)
            assert bus.local_statistics()["published"] == 171

    with asyncio.Runner(loop_factory=Nesting) as runner:
        runner.run(main())


async def test_a_task_goes_on_for_sixteen_publishes_beside_others(broker, kind, path):
    """And no turn has more than 64 of them."""
    turns, published, over = 0, [], []

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with await open_bus(kind, broker, path) as bus:

        async def publish(task):
            for number in range(400):
                await bus.publish(process(number))
                published.append((turns, task))
            over.append(len(published))

        counting = asyncio.create_task(count())
        await asyncio.gather(*map(publish, range(5)))
        counting.cancel()
    by_turn = [len(list(group)) for _, group in itertools.groupby(turn for turn, _ in published)]
    assert max(by_turn) <= 64
    together = (task for _, task in published[: over[0]])
    rows = [len(list(group)) for _, group in itertools.groupby(together)]
    # The first has a turn to itself before there are others.
    assert sorted(rows)[-2] <= 16


@pytest.mark.parametrize("many", [False, True], ids=["publish", "publish_many"])
async def test_the_first_that_is_given_up_holds_up_nobody(broker, many):
    """The others waited for eight turns of the loop, as for one that nobody drives any more."""
    async with EventBus.from_broker(broker) as bus:

        async def publish_on():
            if many:
                await bus.publish_many(map(process, itertools.count()))
            while True:
                await bus.publish(process(0))

        first = asyncio.create_task(publish_on())
        others = [asyncio.create_task(bus.publish(process(number))) for number in range(10)]
        await asyncio.sleep(0)
        assert not any(other.done() for other in others)
        first.cancel()
        turns = 0
        while not all(other.done() for other in others):
            await asyncio.sleep(0)
            turns += 1
        assert turns <= 5
