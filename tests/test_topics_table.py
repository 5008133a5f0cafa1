"""Topics and patterns: one truth table for TopicPattern, in process and across the socket."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import raw as wire
from daemoneye_eventbus import EventBus, PatternError, TopicError, TopicPattern, topics
from support import Pair, process

TABLE = [
    # `*`: one segment, as the last one or more
    ("events.process.*", "events.process.new", True),
    ("events.process.*", "events.process.batch.big", True),
    ("events.process.*", "events.process", False),
    ("events.*", "events.process.new", True),
    ("events.*", "events.a", True),
    ("events.*", "events", False),
    ("events.*", "health.a", False),
    ("events.*.new", "events.process.new", True),
    ("events.*.new", "events.process.start", False),
    ("events.*.new", "events.a.b.new", False),
    ("events.*.new", "events.new", False),
    ("*", "events", True),
    ("*", "events.a.b.c.d", True),
    ("*.process.new", "events.process.new", True),
    ("*.*", "events", False),
    ("*.*", "events.a.b", True),
    ("*.*.*", "events.a", False),
    # `+`: exactly one
    ("events.process.+", "events.process.new", True),
    ("events.process.+", "events.process", False),
    ("events.process.+", "events.process.new.x", False),
    ("events.+.new", "events.process.new", True),
    ("events.+.+", "events.a.b", True),
    ("events.+.+", "events.a.b.c", False),
    ("+", "events", True),
    ("+", "events.a", False),
    ("+.process.new", "events.process.new", True),
    # `#`: last, zero or more
    ("events.#", "events.process.new", True),
    ("events.#", "events", True),
    ("events.#", "health.process", False),
    ("events.+.#", "events.a.b.c", True),
    ("events.+.#", "events.a", True),
    ("events.+.#", "events", False),
    ("events.process.new.#", "events.process.new", True),
    ("#", "events", True),
    ("#", "health.a.b.c.d.e.f.g", True),
    ("events.*.#", "events.a", True),
    ("events.*.#", "events", False),
    # exact
    ("events.process.new", "events.process.new", True),
    ("events.process.new", "events.process.newer", False),
    ("events.process.new", "events.process", False),
    ("events.process", "events.process.new", False),
    ("events.a-b_c.0", "events.a-b_c.0", True),
    ("events.a-b_c.0", "events.a_b-c.0", False),
]
PATTERNS = list(dict.fromkeys(p for p, _, _ in TABLE))
TOPICS = list(dict.fromkeys(t for _, t, _ in TABLE))
GOOD = [
    "events",
    "health.x",
    "events.0",
    "events.-._",
    "events.b.c.d.e.f.g.h",
    "events." + "x" * 249,
]
HOSTILE = {
    "empty": "",
    "dot": ".",
    "leading dot": ".events",
    "trailing dot": "events.",
    "double dot": "events..x",
    "nine levels": "events.b.c.d.e.f.g.h.i",
    "thousand levels": "events" + ".a" * 999,
    "257 bytes": "events." + "x" * 250,
    "60 KiB": "events." + "x" * 61_000,
    "upper case": "events.Process.new",
    "space": "events.a b",
    "nul": "events.a\0",
    "newline": "events.a\n",
    "ansi": "events.\x1b[31mred",
    "bidi": "events.\u202eexe",
    "not ascii": "events.é",
    "star": "events.*",
    "plus": "events.+",
    "hash": "events.#",
    "domain": "other.process",
    "prefix of a domain": "event.process",
    "system": "system.health.status",
    "systemd": "systemd.unit",
    "debug": "debug.x",
    "control for an event": "control.trigger.request",
}
BAD_PATTERNS = {
    "empty": "",
    "hash inside": "events.#.process",
    "hash first": "#.events",
    "double dot": "events..x",
    "trailing dot": "events.",
    "partial star": "events.pro*",
    "partial hash": "events.new#",
    "two stars": "events.**",
    "upper case": "events.Process",
    "newline": "events.a\n",
    "long": "events." + "x" * 300,
}


def naive(pattern: str, topic: str) -> bool:
    def match(p: list[str], t: list[str]) -> bool:
        if not p:
            return not t
        if p == ["#"]:
            return True
        if p == ["*"]:
            return len(t) >= 1
        return bool(t) and p[0] in ("*", "+", t[0]) and match(p[1:], t[1:])

    return match(pattern.split("."), topic.split("."))


@pytest.mark.parametrize(("pattern", "topic", "verdict"), TABLE)
def test_topic_pattern(pattern, topic, verdict):
    assert TopicPattern(pattern).matches(topic) is verdict
    assert naive(pattern, topic) is verdict, "the table and the naive matcher disagree"


async def test_table_by_delivery(pair: Pair):
    """All patterns at once, all topics once; the barrier is the flush of the same bus."""
    subscriptions = [await pair.sub.subscribe(pattern) for pattern in PATTERNS]
    for number, topic in enumerate(TOPICS):
        await pair.sub.publish(process(number), topic=topic)
    await pair.sub.flush()
    for pattern, subscription in zip(PATTERNS, subscriptions, strict=True):
        got = []
        while subscription.pending:
            item = await subscription.get(timeout=1)
            got.append(item.topic)
            assert item.matched_pattern == pattern
            assert TOPICS[item.event.pid] == item.topic
        assert got == [topic for topic in TOPICS if naive(pattern, topic)], pattern
        await subscription.close()


SEGMENT = st.sampled_from(["a", "b", "new", "process", "x-1", "_"])
TOPIC = st.tuples(st.sampled_from(["events", "control", "health"]), st.lists(SEGMENT, max_size=7)).map(
    lambda t: ".".join([t[0], *t[1]])
)
PATTERN = st.tuples(
    st.sampled_from(["events", "control", "health", "*", "+"]),
    st.lists(st.one_of(SEGMENT, st.sampled_from(["events", "health", "*", "+"])), max_size=6),
    st.sampled_from([[], ["#"], ["*"], ["+"]]),
).map(lambda p: ".".join([p[0], *p[1], *p[2]]))


@given(PATTERN, TOPIC)
@settings(max_examples=500, deadline=None)
def test_any_pattern_like_the_naive_matcher(pattern, topic):
    assert TopicPattern(pattern).matches(topic) is naive(pattern, topic)


@given(st.data())
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@pytest.mark.limit(60)
def test_random_tables_by_delivery(tmp_path_factory, data):
    import asyncio
    import tempfile

    from daemoneye_eventbus import Broker

    patterns = data.draw(st.lists(PATTERN, min_size=1, max_size=12))
    published = data.draw(st.lists(TOPIC.filter(lambda t: t[0] != "c"), min_size=1, max_size=30))
    over_socket = data.draw(st.booleans())

    async def run(path: str) -> None:
        async with Broker(path) as broker:
            opened = EventBus.connect(path) if over_socket else EventBus.from_broker(broker)
            async with opened as bus, bus.subscribe(*patterns) as events:
                for number, topic in enumerate(published):
                    await bus.publish(process(number), topic=topic)
                await bus.flush()
                got = [(await events.get(timeout=1)).topic for _ in range(events.pending)]
                expected = [t for t in published if any(naive(p, t) for p in patterns)]
                assert got == expected

    with tempfile.TemporaryDirectory(dir="/tmp", prefix="deb-") as folder:
        asyncio.run(run(folder + "/b.sock"))


@pytest.mark.parametrize("topic", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_topic_is_refused_at_the_caller(pair: Pair, topic):
    with pytest.raises(TopicError) as caught:
        await pair.pub.publish(process(1), topic=topic)
    assert len(str(caught.value)) < 1000
    assert all(c.isprintable() for c in str(caught.value)), "escape what a terminal would obey"
    with pytest.raises(TopicError):
        pair.pub.publish_nowait(process(1), topic=topic)


@pytest.mark.parametrize("topic", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_topic_is_refused_at_the_broker(broker, path, raw, topic):
    peer = raw(path)
    peer.connect()
    peer.subscribe(1, "#")
    peer.send(wire.process_message(1, topic, sequence=77))
    refused = peer.expect("ERR")
    assert refused["sequence"] == 77
    assert refused["code"]
    assert "topic" in refused
    peer.send(wire.process_message(2, "events.fine"))
    assert [m.topic for m in peer.barrier()] == ["events.fine"], "connection kept"


@pytest.mark.parametrize("topic", GOOD)
async def test_good_topics_pass_everywhere(pair: Pair, raw, topic):
    async with pair.sub.subscribe("#") as events:
        await pair.pub.publish(process(1), topic=topic)
        peer = raw(pair.path)
        peer.connect()
        peer.send(wire.process_message(2, topic))
        assert peer.barrier() == []
        got = [await events.get(timeout=5) for _ in range(2)]
        assert [(g.topic, g.event.pid) for g in got] == [(topic, 1), (topic, 2)]


@pytest.mark.parametrize("pattern", BAD_PATTERNS.values(), ids=BAD_PATTERNS.keys())
async def test_bad_patterns_have_one_verdict(pair: Pair, raw, pattern):
    with pytest.raises(PatternError):
        TopicPattern(pattern)
    with pytest.raises(PatternError):
        await pair.sub.subscribe("events.#", pattern)
    peer = raw(pair.path)
    peer.connect()
    peer.sub(5, "events.#", pattern)
    refused = peer.expect("ERR")
    assert refused["id"] == 5
    peer.subscribe(6, "events.#")


def test_pattern_error_has_the_originals_wording():
    with pytest.raises(PatternError, match=r"Multi-level wildcard \(#\) must be at the end"):
        TopicPattern("events.#.process")


def test_pattern_is_a_value():
    assert TopicPattern("events.#") == TopicPattern("events.#")
    assert hash(TopicPattern("events.#")) == hash(TopicPattern("events.#"))
    assert "events.#" in repr(TopicPattern("events.#"))


def test_topic_builders_of_the_original():
    assert topics.task_topic("procmond", "1") == "control.collector.task.procmond.1"
    assert topics.lifecycle_topic("x") == "control.collector.x"
    assert topics.config_topic("x") == "control.collector.config.x"
    assert topics.heartbeat_topic("x") == "control.health.heartbeat.x"
    assert topics.shutdown_topic("x") == "control.shutdown.x"
