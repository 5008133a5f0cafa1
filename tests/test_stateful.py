"""Random histories of the public API against a model: who is subscribed, what each queue holds, what it lost."""

import asyncio
import itertools
import tempfile
from collections import deque
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

from daemoneye_eventbus import Broker, ClientConfig, EventBus, ProcessEvent, SubscriptionClosed, WouldBlock
from support import LONG

SEGMENTS = ("process", "new")
topics = st.builds(
    lambda parts: ".".join(["events", *parts]), st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=2)
)
patterns = st.one_of(
    topics,
    st.builds(
        lambda parts, last: ".".join(["events", *parts, last]),
        st.lists(st.sampled_from((*SEGMENTS, "+", "*")), max_size=2),
        st.sampled_from(("#", "*", "new")),
    ),
)


def matches(pattern: list[str], topic: list[str]) -> bool:
    """By trying every way."""
    if not pattern or not topic:
        return pattern in (topic, ["#"])
    head, *rest = pattern
    if not rest and head in {"#", "*"}:
        return True
    return head in {"*", "+", topic[0]} and matches(rest, topic[1:])


class Model:
    """One subscription as it should be."""

    def __init__(self, wanted: tuple[str, ...], capacity: int, overflow: str) -> None:
        self.patterns = [pattern.split(".") for pattern in wanted]
        self.capacity, self.overflow = capacity, overflow
        self.queue: deque[tuple[int, int]] = deque()
        self.dropped = self.gap = 0

    def offer(self, topic: str, pid: int) -> None:
        if not any(matches(pattern, topic.split(".")) for pattern in self.patterns):
            return
        if len(self.queue) == self.capacity:
            self.dropped += 1
            if self.overflow == "drop_newest":
                self.gap += 1
                return
            _, before = self.queue.popleft()
            if self.queue:
                first, own = self.queue[0]
                self.queue[0] = (first, own + before + 1)
            else:
                self.gap += before + 1
        self.queue.append((pid, self.gap))
        self.gap = 0


class Histories(RuleBasedStateMachine):
    """In the broker's own process, where a subscription's queue is the only stage."""

    kind = "inproc"
    open_ones = Bundle("open_ones")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(prefix="deb-", dir="/tmp")
        self.numbers = itertools.count()
        self.models: dict[str, tuple[object, Model]] = {}
        self.published = 0
        self.runner.run(self._open())

    async def _open(self) -> None:
        path = str(Path(self.folder.name) / "b.sock")
        self.broker = Broker(path)
        await self.broker.start()
        config = ClientConfig(pool=False)
        make = lambda: EventBus.connect(path, config=config)  # noqa: E731
        if self.kind == "inproc":
            make = lambda: EventBus.from_broker(self.broker)  # noqa: E731
        self.bus = await make()

    def teardown(self) -> None:
        async def close() -> None:
            await self.bus.shutdown()
            await self.broker.shutdown()

        self.runner.run(close())
        self.runner.close()
        self.folder.cleanup()

    @rule(
        target=open_ones,
        wanted=st.lists(patterns, min_size=1, max_size=3).map(tuple),
        capacity=st.integers(1, 3),
        overflow=st.sampled_from(("drop_oldest", "drop_newest")),
    )
    def subscribe(self, wanted, capacity, overflow):
        made = self.runner.run(self._subscribe(wanted, capacity, overflow))
        self.models[made.subscriber_id] = (made, Model(wanted, capacity, overflow))
        return made.subscriber_id

    async def _subscribe(self, wanted, capacity, overflow):
        return await self.bus.subscribe(*wanted, queue_messages=capacity, overflow=overflow)

    @rule(name=consumes(open_ones), by_bus=st.booleans())
    def close(self, name, by_bus):
        made, _ = self.models.pop(name)

        async def end():
            await (self.bus.unsubscribe(name) if by_bus else made.close())
            with pytest.raises(SubscriptionClosed):
                await made.get(timeout=0.1)

        self.runner.run(end())

    @rule(sent=st.lists(topics, min_size=1, max_size=12))
    def publish(self, sent):
        async def go():
            for topic in sent:
                pid = next(self.numbers)
                await self.bus.publish(ProcessEvent(pid=pid, name="x"), topic=topic)
                for _, model in self.models.values():
                    model.offer(topic, pid)
            await self.bus.flush()

        self.runner.run(go())
        self.published += len(sent)

    @rule(name=open_ones, count=st.integers(1, 4))
    def take(self, name, count):
        made, model = self.models[name]

        async def go():
            # The loop has its turn: what the kernel has comes in.
            await self.bus.flush()
            for _ in range(count):
                if not model.queue:
                    with pytest.raises(WouldBlock):
                        made.get_nowait()
                    return
                received = made.get_nowait()
                assert (received.event.pid, received.dropped_before) == model.queue.popleft()

        self.runner.run(go())

    @rule(name=open_ones)
    def take_many(self, name):
        made, model = self.models[name]

        async def go():
            await self.bus.flush()
            if model.queue:
                got = await made.get_many(100, timeout=1)
                assert [(one.event.pid, one.dropped_before) for one in got] == list(model.queue)
                model.queue.clear()

        self.runner.run(go())

    @invariant()
    def the_books_balance(self):
        async def look():
            await self.bus.flush()
            for made, model in self.models.values():
                assert (made.pending, made.dropped) == (len(model.queue), model.dropped)
            return await self.bus.statistics()

        said = self.runner.run(look())
        assert said.messages_published == self.published
        assert said.active_subscribers == len(self.models)


class OverTheSocket(Histories):
    """Through the kernel, with one connection for both directions."""

    kind = "socket"


@pytest.mark.limit(1200 if LONG else 120)
@pytest.mark.parametrize("machine", [Histories, OverTheSocket], ids=["inproc", "socket"])
def test_random_histories(machine):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=150 if LONG else 15,
            stateful_step_count=25,
            # Each step is real: finding the shortest history takes minutes, which only a long run has.
            phases=list(Phase) if LONG else [Phase.generate],
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
