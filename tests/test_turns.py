"""What tasks of one loop publish and read in one turn of it: readers there keep up, and nobody is left standing."""

import asyncio
import time

import pytest

from daemoneye_eventbus import Broker, EventBus
from support import Reader, open_bus, pids, process


@pytest.mark.parametrize("many", [False, True], ids=["publish", "publish_many"])
@pytest.mark.parametrize(("queue", "tasks", "each"), [(8, 20, 1), (8, 100, 1), (100, 100, 10), (400, 500, 1)])
async def test_tasks_do_not_overflow_the_queue_of_their_own_loop(broker, queue, tasks, each, many):
    """Each task that had given the loop a turn published in the next one, however many they were."""
    async with EventBus.from_broker(broker) as bus:
        reader = Reader(await bus.subscribe("events.#", queue_messages=queue))
        await asyncio.sleep(0)

        async def publish(first):
            events = [process(number) for number in range(first, first + each)]
            if many:
                await bus.publish_many(events)
            else:
                for event in events:
                    await bus.publish(event)

        await asyncio.gather(*(publish(number * each) for number in range(tasks)))
        await bus.drain()
        await reader.end()
        assert (sorted(reader.got), reader.events.dropped) == (list(range(tasks * each)), 0)


async def test_tasks_do_not_overflow_a_queue_of_the_default_size(broker):
    """By its bytes, which a third more than there is room for would."""
    async with EventBus.from_broker(broker) as bus:
        reader = Reader(await bus.subscribe("events.#"))
        await asyncio.sleep(0)
        await asyncio.gather(*(bus.publish(process(number, command_line="x" * 1000)) for number in range(10_000)))
        await bus.drain()
        await reader.end()
        assert (reader.got, reader.events.dropped) == (list(range(10_000)), 0)


async def test_each_task_has_its_turns_where_the_queue_has_little_room(broker):
    """Who was passed over goes first in the next turn; whoever went first had all the room again."""
    async with EventBus.from_broker(broker) as bus:
        reader = Reader(await bus.subscribe("events.#", queue_messages=64))
        done = [0, 0, 0]
        at_first_end = []

        async def publish(task):
            for number in range(400):
                await bus.publish(process(number))
                done[task] = number + 1
            at_first_end.append(list(done))

        await asyncio.gather(*map(publish, range(3)))
        assert min(at_first_end[0]) > 200, at_first_end[0]
        await bus.drain()
        await reader.end()
        assert (len(reader.got), reader.events.dropped) == (1200, 0)


@pytest.mark.parametrize("end", ["flush", "drain", "shutdown"])
def test_a_publish_that_began_while_another_gave_way_is_published_before_the_end(run, kind, path, end):
    """The first that went on hid those that still stood back."""

    async def main():
        async with Broker(path) as broker:
            bus = await (EventBus.from_broker(broker) if kind == "inproc" else EventBus.connect(path))
            begun = []

            async def first():
                await bus.flush()
                number = 0
                while not begun:
                    number += 1
                    await bus.publish(process(number))
                await getattr(bus, end)()
                assert bus.local_statistics()["published"] == number + 1

            async def second():
                begun.append(True)
                await bus.publish(process(0))

            await asyncio.gather(first(), second())
            await bus.shutdown()

    run(main())


async def test_an_end_waits_for_nobody_who_does_not_come_back(broker):
    """A publish that somebody steps by hand, and leaves."""
    async with EventBus.from_broker(broker) as bus:
        left = None
        while left is None:
            publish = bus.publish(process(1))
            try:
                publish.send(None)
            except StopIteration:
                continue
            left = publish
        await asyncio.wait_for(bus.flush(), 5)
        published = bus.local_statistics()["published"]
        await asyncio.gather(*(bus.publish(process(number)) for number in range(300)))
        assert bus.local_statistics()["published"] == published + 300
        left.close()


class Busy:
    """A task with 2 ms of work for each turn of the loop, and the turns that it counts."""

    def __init__(self):
        self.turns = 0
        self.task = asyncio.create_task(self.work())

    async def work(self):
        while True:
            self.turns += 1
            end = time.perf_counter() + 0.002
            while time.perf_counter() < end:
                pass
            await asyncio.sleep(0)


async def test_a_loop_with_other_work_publishes_and_reads_as_much_in_each_turn(kind, broker, path):
    """What others had taken of the loop's time was counted as the bus's own: it went on with one event a turn."""
    async with await open_bus(kind, broker, path) as bus, bus.subscribe("events.#") as events:
        busy = Busy()
        for number in range(500):
            await bus.publish(process(number))
        published = busy.turns
        assert published < 150
        await bus.flush()
        while events.pending < 500:
            await asyncio.sleep(0)
        before = busy.turns
        assert pids([await events.get() for _ in range(500)]) == list(range(500))
        assert busy.turns - before < 100
        busy.task.cancel()


@pytest.mark.parametrize("call", ["publish", "publish_many", "get", "get_many"])
async def test_a_call_in_a_new_turn_goes_on_at_once(kind, broker, path, call):
    """After a millisecond each waited for one more turn, also where the loop had had many since the last."""
    async with await open_bus(kind, broker, path) as bus, bus.subscribe("events.#") as events:
        await bus.publish_many([process(number) for number in range(100)])
        await bus.flush()
        while events.pending < 100:
            await asyncio.sleep(0)
        calls = {
            "publish": lambda: bus.publish(process(1)),
            "publish_many": lambda: bus.publish_many([process(1), process(2)]),
            "get": events.get,
            "get_many": lambda: events.get_many(2),
        }
        busy = Busy()
        waited = 0
        for _ in range(40):
            await asyncio.sleep(0)
            before = busy.turns
            await calls[call]()
            waited += busy.turns - before
        assert waited < 10
        busy.task.cancel()


async def test_a_task_that_keeps_the_loop_gives_it_its_turns(kind, broker, path):
    """However long it has worked itself, and although the loop had turns before."""
    async with await open_bus(kind, broker, path) as bus, bus.subscribe("events.#"):
        turns = 0

        async def count():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        await asyncio.sleep(0)
        before = turns
        for number in range(20):
            end = time.perf_counter() + 0.002
            while time.perf_counter() < end:
                pass
            await bus.publish(process(number))
        assert turns - before >= 10
        counting.cancel()
