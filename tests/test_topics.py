"""topics: names, builders, patterns."""

import copy
import pickle

import pytest

from daemoneye_eventbus import (
    Broker,
    BrokerConfig,
    EventBus,
    PatternError,
    TopicError,
    TopicPattern,
    _native,
    topics,
)


def test_names_are_those_of_the_core():
    stated = {name: value for name, value in vars(topics).items() if name.isupper()}
    assert stated == dict(_native._topic_names())
    assert set(stated) < set(topics.__all__)


def test_a_topic_is_built_by_segments():
    process = topics.TopicBuilder.events().process()
    assert process.segment("lifecycle").build() == topics.PROCESS_LIFECYCLE
    assert process.segment("new").build_validated() == topics.PROCESS_NEW
    assert topics.TopicBuilder.control().collector().segment("config").build() == topics.COLLECTOR_CONFIG
    for name in ("network", "filesystem", "performance", "agent", "health"):
        assert getattr(topics.TopicBuilder.events(), name)().build() == f"events.{name}"
    assert topics.TopicBuilder().build() == ""
    for wrong in (topics.TopicBuilder(), process.segment("P.1"), process.segment("*"), topics.TopicBuilder().agent()):
        with pytest.raises(TopicError) as error:
            wrong.build_validated()
        assert error.value.topic == wrong.build()
    with pytest.raises(TypeError, match="segment: expected str, got int"):
        process.segment(5)
    assert repr(process) == "TopicBuilder('events.process')"


def test_patterns():
    pattern = TopicPattern("events.process.*")
    assert pattern.matches("events.process.new")
    assert pattern.matches("events.process.new.late")
    assert not pattern.matches("events.process")
    assert not pattern.is_exact
    assert TopicPattern("events.#").matches("events")
    assert (str(pattern), repr(pattern)) == ("events.process.*", 'TopicPattern("events.process.*")')
    assert pickle.loads(pickle.dumps(pattern)) == pattern
    assert copy.deepcopy(pattern) is pattern
    assert hash(TopicPattern("events.process.*")) == hash(pattern)
    assert pattern != TopicPattern("events.#")
    with pytest.raises(PatternError) as error:
        TopicPattern("events.#.process")
    assert error.value.pattern == "events.#.process"
    with pytest.raises(TypeError):
        TopicPattern(5)
    with pytest.raises(TypeError):
        pattern.matches(None)


@pytest.mark.parametrize(
    "topic", ["", "events.", "events..new", "events.Process", "other.x", "events.*", "events." + "x" * 300]
)
def test_what_is_no_topic_meets_no_pattern_and_is_refused(topic):
    """Nobody can publish there; a hash matched it all the same."""
    with pytest.raises(TopicError) as error:
        TopicPattern("#").matches(topic)
    assert error.value.topic == topic[:256]
    # How deep topics may be, brokers differ about.
    assert TopicPattern("#").matches("events" + ".x" * 120)


async def test_every_pattern_of_a_subscription_is_a_pattern(path):
    """Those of more than eight segments were not."""
    deep = "events" + ".a" * 9
    async with (
        Broker(path, config=BrokerConfig(max_topic_depth=16)) as broker,
        EventBus.from_broker(broker) as bus,
        bus.subscribe(deep) as events,
    ):
        assert TopicPattern(events.patterns[0]).matches(deep)
    deepest = "events" + ".a" * 123 + ".#"
    assert TopicPattern(deepest).pattern == deepest
    with pytest.raises(PatternError):
        TopicPattern("events" + ".a" * 125 + ".#")
