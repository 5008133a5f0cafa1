"""`flush`, `drain` and `shutdown` come after every `publish` that began before, whatever becomes of later ones."""

import asyncio
import random
from contextlib import suppress

import pytest

from daemoneye_eventbus import Broker, EventBus
from support import Reader, open_bus, process

ROOM = 64  # of a turn of the loop, in messages


class Publisher:
    """One bus, the publishes that have begun and are not over, and those that were published."""

    def __init__(self, bus):
        self.bus = bus
        self.begun = set()
        self.published = []

    async def publish(self, number):
        self.begun.add(number)
        try:
            await self.bus.publish(process(number))
            self.published.append(number)
        finally:
            self.begun.discard(number)

    async def publish_many(self, numbers):
        await self.bus.publish_many([process(number) for number in numbers])
        self.published += numbers

    async def end(self, how):
        """Those that had begun before and are not over."""
        before = set(self.begun)
        await getattr(self.bus, how)()
        return before & self.begun


@pytest.mark.parametrize("how", ["cancelled", "timed out"])
@pytest.mark.parametrize("end", ["flush", "drain", "shutdown"])
def test_later_ones_that_are_given_up_are_not_taken_for_them(run, kind, path, end, how):
    """They were counted with those that had begun before: the end came when as many were over."""

    async def main():
        async with Broker(path) as broker, EventBus.from_broker(broker) as reading:
            reader = Reader(await reading.subscribe("events.#", queue_messages=ROOM))
            publisher = Publisher(await open_bus(kind, broker, path))

            async def give_up():
                with suppress(TimeoutError):
                    async with asyncio.timeout(0 if how == "timed out" else None):
                        await publisher.bus.publish(process(0))

            earlier = [asyncio.create_task(publisher.publish(number)) for number in range(1, 301)]
            await asyncio.sleep(0)
            assert len(publisher.begun) > ROOM
            ending = asyncio.create_task(publisher.end(end))
            await asyncio.sleep(0)
            later = [asyncio.create_task(give_up()) for _ in range(100)]
            await asyncio.sleep(0)
            if how == "cancelled":
                for task in later:
                    task.cancel()
            left_behind = await ending
            refused = [error for error in await asyncio.gather(*earlier, return_exceptions=True) if error]
            assert (left_behind, refused) == (set(), [])
            await asyncio.gather(*later, return_exceptions=True)
            await publisher.bus.shutdown()
            await reader.end()

    run(main())


async def test_one_that_does_not_come_back_is_not_waited_for_among_others(broker):
    """A publish that somebody steps by hand, and leaves, while tasks publish on and on."""
    async with EventBus.from_broker(broker) as bus:
        reader = Reader(await bus.subscribe("events.#", queue_messages=ROOM))
        await asyncio.sleep(0)

        async def publish_on():
            while True:
                await bus.publish(process(1))

        busy = [asyncio.create_task(publish_on()) for _ in range(20)]
        left = None
        while left is None:
            publish = bus.publish(process(2))
            try:
                publish.send(None)
            except StopIteration:
                continue
            left = publish
        await bus.flush(5)
        for task in busy:
            task.cancel()
        left.close()
        await reader.end()


async def test_an_end_gives_the_loop_no_turn_where_all_is_published(broker):
    async with EventBus.from_broker(broker) as bus:
        await asyncio.gather(*(bus.publish(process(number)) for number in range(1000)))
        turn = asyncio.create_task(asyncio.sleep(0))
        await bus.flush()
        assert not turn.done()
        await turn


@pytest.mark.parametrize("seed", range(8))
def test_random_histories(run, path, seed):
    """Publishes and flushes by many tasks of a few buses, and tasks that are cancelled."""
    rng = random.Random(seed)

    async def main():
        async with Broker(path) as broker, EventBus.from_broker(broker) as reading:
            publishers = [Publisher(await EventBus.from_broker(broker)) for _ in range(rng.choice((1, 1, 2, 5)))]
            room = rng.choice((8, 16, ROOM)) * len(publishers)
            reader = Reader(await reading.subscribe("events.#", queue_messages=room))
            tasks, flushes = [], []
            number = 0

            def begin(call, count):
                nonlocal number
                tasks.append(asyncio.create_task(call(number) if count == 1 else call(range(number, number + count))))
                number += count

            for _ in range(120):
                publisher = rng.choice(publishers)
                what = rng.choices(("publish", "publish_many", "cancel", "flush", "turns"), (10, 3, 3, 2, 2))[0]
                if what == "publish":
                    for _ in range(rng.choice((1, 1, 5, 30))):
                        begin(publisher.publish, 1)
                elif what == "publish_many":
                    begin(publisher.publish_many, rng.choice((2, 10, 100)))
                elif what == "cancel" and tasks:
                    rng.choice(tasks[-40:]).cancel()
                elif what == "flush":
                    flushes.append(asyncio.create_task(publisher.end("flush")))
                else:
                    for _ in range(rng.randint(0, 3)):
                        await asyncio.sleep(0)
            await asyncio.gather(*tasks, return_exceptions=True)
            assert [left for left in await asyncio.gather(*flushes) if left] == []
            for publisher in publishers:
                await publisher.bus.drain()
            await reading.drain()
            await reader.end()
            assert reader.events.dropped == 0
            assert len(reader.got) == len(set(reader.got))
            assert {one for publisher in publishers for one in publisher.published} <= set(reader.got)

    run(main())
