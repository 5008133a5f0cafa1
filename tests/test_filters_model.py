"""Filters against a model in plain Python that says the rules as documented, over the socket and in process."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemoneye_eventbus import (
    Broker,
    ClientConfig,
    ControlMessage,
    CorrelationFilter,
    CorrelationMetadata,
    EventBus,
    EventFilter,
    FilesystemEvent,
    NetworkEvent,
    PerformanceEvent,
    ProcessEvent,
    TriggerRequest,
)
from support import LONG

KINDS = {
    ProcessEvent: "process",
    NetworkEvent: "network",
    FilesystemEvent: "filesystem",
    PerformanceEvent: "performance",
    TriggerRequest: "trigger",
}

# -- The model.


def topic_meets(pattern: list[str], topic: list[str]) -> bool:
    if not pattern:
        return not topic
    first, *rest = pattern
    if first == "#":
        return True
    if first == "*" and not rest:
        return len(topic) >= 1
    return bool(topic) and first in {"*", "+", topic[0]} and topic_meets(rest, topic[1:])


def glob_meets(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None


def passes(event_filter: EventFilter, wanted: CorrelationFilter, topic: str, event, of: CorrelationMetadata) -> bool:
    """``event`` is None for a control message."""
    tags = dict(of.correlation_tags)
    metadata = None if event is None else dict(event.metadata)
    collector = (metadata or {}).get("collector", tags.get("source_process"))
    ids = [of.correlation_id, of.parent_correlation_id, of.root_correlation_id]
    restrictions = [
        (event_filter.event_types, lambda: KINDS.get(type(event)) in event_filter.event_types),
        (event_filter.pids, lambda: isinstance(event, ProcessEvent) and event.pid in event_filter.pids),
        (
            event_filter.min_priority is not None,
            lambda: isinstance(event, TriggerRequest) and event.priority >= event_filter.min_priority,
        ),
        (
            event_filter.metadata_filters,
            lambda: metadata is not None and event_filter.metadata_filters.items() <= metadata.items(),
        ),
        (
            event_filter.topic_filters,
            lambda: any(topic_meets(one.split("."), topic.split(".")) for one in event_filter.topic_filters),
        ),
        (event_filter.source_collectors, lambda: collector in event_filter.source_collectors),
        (wanted.correlation_ids, lambda: of.correlation_id in wanted.correlation_ids),
        (wanted.parent_correlation_ids, lambda: of.parent_correlation_id in wanted.parent_correlation_ids),
        (wanted.root_correlation_ids, lambda: of.root_correlation_id in wanted.root_correlation_ids),
        (wanted.workflow_stages, lambda: of.workflow_stage in wanted.workflow_stages),
        (
            wanted.correlation_patterns,
            lambda: any(glob_meets(p, one) for p in wanted.correlation_patterns for one in ids if one is not None),
        ),
        (wanted.required_tags, lambda: wanted.required_tags.items() <= tags.items()),
        (wanted.any_tags, lambda: bool(wanted.any_tags.items() & tags.items())),
        (wanted.min_sequence is not None, lambda: of.sequence_number >= wanted.min_sequence),
        (wanted.max_sequence is not None, lambda: of.sequence_number <= wanted.max_sequence),
    ]
    return all(holds() for given, holds in restrictions if given)


# -- What is tried: few words, so that things meet.

WORDS = st.sampled_from(["a", "b", "ab", "ba", "c"])
MAPS = st.dictionaries(st.sampled_from(["k", "x", "collector", "source_process"]), WORDS, max_size=4)
TOPICS = st.sampled_from(["events.process.new", "events.process.tree.new", "events.network.new", "health.status"])


def lists(words):
    # Usually nothing, sometimes more than are compared one by one.
    return st.one_of(st.just([]), st.just([]), st.lists(words, min_size=1, max_size=12))


EVENT_FILTERS = st.builds(
    EventFilter,
    event_types=lists(st.sampled_from(sorted(KINDS.values()))),
    pids=lists(st.integers(0, 3)),
    min_priority=st.none() | st.integers(0, 3),
    metadata_filters=st.one_of(st.just({}), st.just({}), MAPS),
    topic_filters=lists(
        st.sampled_from(["events.#", "events.*", "events.+.new", "events.process.new", "health.*", "control.#", "#"])
    ),
    source_collectors=lists(WORDS),
)
BOUNDS = st.none() | st.integers(0, 3)


def bounded_filter(low, high, **fields):
    if low is not None and high is not None:
        low, high = sorted((low, high))
    return CorrelationFilter(**fields, min_sequence=low, max_sequence=high)


CORRELATION_FILTERS = st.builds(
    bounded_filter,
    BOUNDS,
    BOUNDS,
    correlation_ids=lists(WORDS),
    correlation_patterns=lists(st.text("ab*", max_size=4)),
    parent_correlation_ids=lists(WORDS),
    root_correlation_ids=lists(WORDS),
    workflow_stages=lists(WORDS),
    required_tags=st.one_of(st.just({}), st.just({}), MAPS),
    any_tags=st.one_of(st.just({}), st.just({}), MAPS),
)
CORRELATIONS = st.builds(
    CorrelationMetadata,
    WORDS,
    st.none() | WORDS,
    WORDS,
    st.integers(0, 3),
    st.none() | WORDS,
    MAPS,
)
EVENTS = st.one_of(
    st.builds(ProcessEvent, st.integers(0, 3), WORDS, metadata=MAPS),
    st.builds(ProcessEvent, st.integers(0, 3), WORDS, metadata=MAPS),
    st.builds(NetworkEvent, WORDS, WORDS, WORDS, WORDS, MAPS),
    st.builds(FilesystemEvent, WORDS, WORDS, metadata=MAPS),
    st.builds(PerformanceEvent, WORDS, st.floats(0, 1), WORDS, MAPS),
)
PUBLISHES = st.one_of(
    st.tuples(TOPICS, EVENTS, CORRELATIONS),
    st.tuples(TOPICS, EVENTS, CORRELATIONS),
    st.tuples(
        st.just("control.trigger.request"),
        st.builds(TriggerRequest, WORDS, WORDS, st.integers(0, 3), metadata=MAPS),
        CORRELATIONS,
    ),
    st.tuples(st.sampled_from(["control.agent.policy", "health.status"]), st.none(), CORRELATIONS),
)


class Stage:
    """A broker and a bus, kept over all examples of a test."""

    def __init__(self, kind: str) -> None:
        self.directory = tempfile.mkdtemp(prefix="deb-", dir="/tmp")
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.bus = self.runner.run(self._open(kind))

    async def _open(self, kind: str) -> EventBus:
        broker = await self.stack.enter_async_context(Broker(Path(self.directory) / "b.sock"))
        opening = (
            EventBus.from_broker(broker)
            if kind == "inproc"
            else EventBus.connect(broker.path, config=ClientConfig(pool=False))
        )
        return await self.stack.enter_async_context(opening)

    async def received(self, event_filter, correlation_filter, publishes) -> list[int]:
        """Which of ``publishes`` came, by number."""
        filters = {"event_filter": event_filter, "correlation_filter": correlation_filter}
        async with self.bus.subscribe("#", include_control=True, **filters) as events:
            for topic, event, correlation in publishes:
                if event is None:
                    await self.bus.publish_control(topic, b"\xff", correlation)
                else:
                    await self.bus.publish(event, correlation, topic=topic)
            await self.bus.flush()
            got = [events.get_nowait() for _ in range(events.pending)]
            assert events.dropped == 0, "filtered is not lost"
        came = []
        numbers = iter(range(len(publishes)))
        for message in got:
            event = None if isinstance(message, ControlMessage) else message.event
            found = (message.topic, event, message.correlation_metadata)
            # In the order in which they were published, so each is looked for behind the one before.
            came.append(next(number for number in numbers if publishes[number] == found))
        return came

    def close(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()
        shutil.rmtree(self.directory)


@pytest.fixture
def stage(kind):
    made = Stage(kind)
    yield made
    made.close()


@pytest.mark.limit(600 if LONG else 60)
@settings(
    max_examples=5_000 if LONG else 300,
    deadline=None,
    # One broker serves all examples; each has a subscription of its own.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    event_filter=EVENT_FILTERS,
    correlation_filter=CORRELATION_FILTERS,
    publishes=st.lists(PUBLISHES, min_size=1, max_size=12),
)
def test_what_comes_is_what_the_model_lets_pass(stage, event_filter, correlation_filter, publishes):
    expected = [
        number
        for number, (topic, event, correlation) in enumerate(publishes)
        if passes(event_filter, correlation_filter, topic, event, correlation)
    ]
    received = stage.runner.run(stage.received(event_filter, correlation_filter, publishes))
    assert [publishes[number] for number in received] == [publishes[number] for number in expected]


def test_the_model_itself():
    """Every restriction of the model lets something pass and keeps something back."""
    of = CorrelationMetadata("child", "parent", "root", 2, "scan", {"a": "1", "source_process": "mon"})
    event = ProcessEvent(7, "sh", metadata={"user": "root"})
    other = CorrelationMetadata("else")

    def both(event_filter=None, wanted=None):
        filters = (event_filter or EventFilter(), wanted or CorrelationFilter())
        return (
            passes(*filters, "events.process.new", event, of),
            passes(*filters, "health.status", None, other),
        )

    assert both() == (True, True)
    for restriction in (
        EventFilter(event_types=["process"]),
        EventFilter(pids=[7]),
        EventFilter(metadata_filters={"user": "root"}),
        EventFilter(topic_filters=["events.*"]),
        EventFilter(source_collectors=["mon"]),
    ):
        assert both(restriction) == (True, False), restriction
    for wish in (
        CorrelationFilter(correlation_ids=["child"]),
        CorrelationFilter(correlation_patterns=["ro*t"]),
        CorrelationFilter(parent_correlation_ids=["parent"]),
        CorrelationFilter(root_correlation_ids=["root"]),
        CorrelationFilter(workflow_stages=["scan"]),
        CorrelationFilter(required_tags={"a": "1"}),
        CorrelationFilter(any_tags={"a": "1", "b": "2"}),
        CorrelationFilter(min_sequence=2),
    ):
        assert both(wanted=wish) == (True, False), wish
    assert both(wanted=CorrelationFilter(max_sequence=1)) == (False, True)
    assert both(EventFilter(min_priority=0)) == (False, False)
