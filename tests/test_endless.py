"""Lists and mappings whose length is wrong, or that never end: refused at a limit."""

from collections.abc import Mapping, Sequence

import pytest

from daemoneye_eventbus import (
    Broker,
    BrokerConfig,
    BrokerStatistics,
    ClientConfig,
    ClientInfo,
    CorrelationFilter,
    EventFilter,
    EventSubscription,
    FrozenMap,
    RateLimit,
    Rule,
    SourceCaps,
)

LIMIT = 65_536
SID = "S-1-5-18"
TOKEN = b"sixteen bytes or more"


class Endless(Sequence):
    """Says that it has one element, and never stops giving it."""

    def __init__(self, value):
        self.value, self.asked = value, 0

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.value

    def __iter__(self):
        while True:
            self.asked += 1
            # Where nobody stops it, the test is to fail and not the machine.
            assert self.asked < 200_000
            yield self.value


class EndlessList(Endless, list):
    def __init__(self, value):
        list.__init__(self)
        Endless.__init__(self, value)


class EndlessMap(Mapping):
    def __init__(self, value):
        self.value, self.asked = value, 0

    def __len__(self):
        return 1

    def __getitem__(self, key):
        return self.value

    def __iter__(self):
        while True:
            self.asked += 1
            assert self.asked < 200_000
            yield str(self.asked)


def refused(where, make, given):
    with pytest.raises(
        ValueError, match=f"{where}: at least {LIMIT + 1} entries are above the limit of {LIMIT}; leave"
    ):
        make(given)
    assert given.asked == LIMIT + 1


def field(kind, name, /, **others):
    return f"^{kind.__name__}.{name}", lambda given: kind(**others, **{name: given})


LISTS = [
    *((*field(EventFilter, name), "a") for name in ("event_types", "topic_filters", "source_collectors")),
    (*field(EventFilter, "pids"), 1),
    *((*field(CorrelationFilter, name), "a") for name in ("correlation_ids", "correlation_patterns")),
    *((*field(CorrelationFilter, name), "a") for name in ("parent_correlation_ids", "root_correlation_ids")),
    (*field(CorrelationFilter, "workflow_stages"), "a"),
    *((*field(SourceCaps, name), "a") for name in ("event_types", "collectors")),
    (*field(EventSubscription, "topic_patterns", subscriber_id="s"), "a"),
    *((*field(Rule, name, allow=True), "events.#") for name in ("publish", "subscribe")),
    (*field(Rule, "uids", publish=("events.#",)), 1),
    (*field(Rule, "sids", publish=("events.#",)), SID),
    (*field(Rule, "tokens", publish=("events.#",)), "a"),
    (*field(BrokerConfig, "allowed_uids"), 1),
    (*field(BrokerConfig, "allowed_sids"), SID),
    (*field(BrokerConfig, "original_patterns"), "events.#"),
    (*field(BrokerConfig, "rules"), Rule(publish=("events.#",))),
    (*field(BrokerConfig, "rate_limit"), RateLimit(messages_per_second=1)),
    (*field(ClientConfig, "server_uids"), 1),
    (*field(ClientConfig, "server_sids"), SID),
]
MAPS = [
    (*field(EventFilter, "metadata_filters"), "a"),
    *((*field(CorrelationFilter, name), "a") for name in ("required_tags", "any_tags")),
    *((*field(BrokerStatistics, name), 1) for name in ("dropped", "refused", "refused_uids")),
    (*field(ClientInfo, "dropped", id="", name="", uid=0, pid=0, dialect="", peer="native"), 1),
    (*field(BrokerConfig, "token"), TOKEN),
    ("^FrozenMap.mapping", FrozenMap, "a"),
]


@pytest.mark.parametrize(("where", "make", "value"), LISTS, ids=[where[1:] for where, *_ in LISTS])
@pytest.mark.parametrize("kind", [Endless, EndlessList])
def test_a_list(kind, where, make, value):
    refused(where, make, kind(value))


@pytest.mark.parametrize(("where", "make", "value"), MAPS, ids=[where[1:] for where, *_ in MAPS])
def test_a_mapping(where, make, value):
    refused(where, make, EndlessMap(value))


def test_tokens():
    refused("^BrokerConfig.token", lambda given: BrokerConfig(token=given), EndlessList(TOKEN))
    refused("^BrokerConfig.token", lambda given: BrokerConfig(token={"a": given}), EndlessList(TOKEN))


def test_what_a_client_of_the_original_is_sent(path):
    identity = "00000000-0000-0000-0000-000000000001"
    refused("^patterns", lambda given: Broker(path).subscribe_client(identity, given), Endless("events.#"))


def test_as_many_as_the_limit_are_taken():
    assert len(EventFilter(pids=range(LIMIT)).pids) == LIMIT
    assert len(FrozenMap({str(number): "" for number in range(LIMIT)})) == LIMIT
