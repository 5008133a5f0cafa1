"""Invalid settings are refused by name when a configuration is made; one that was made is never refused later."""

import copy
import dataclasses
import enum
import os
import pickle
import pprint
import re
import sys
import traceback

import pytest

from daemoneye_eventbus import Broker, BrokerConfig, ClientConfig, EventBus, EventBusError, RateLimit, Rule
from support import process

HUGE = 10**400
UNIX = pytest.mark.skipif(sys.platform == "win32", reason="pipes have access lists")


class LyingInt(int):
    """Within all limits, if one asks it."""

    def __le__(self, other):
        return True

    __ge__ = __lt__ = __gt__ = __le__


class Number(enum.IntEnum):
    FIVE = 5


ODD = [
    HUGE, -HUGE, 10**5000, 2**63, 2**63 - 1, 2**64, 1e300, -1e300, 5e-324, float("nan"), float("inf"), -0.0, 0, -1,
    1.5, True, None, "x", "x" * 10**5, "\ud800", b"x", (), [], {}, [None], object(),
    LyingInt(HUGE), LyingInt(-1), Number.FIVE,
    [HUGE], [10**5000], [True], ["\ud800"], ["a\0b"], ["events.\0"], [[]], [("x",)],
    {"\ud800": b"x" * 32}, {"x": [b"x" * 32, 5]}, bytearray(b"x" * 32), range(3), set(),
    [10**5000], [-1], ["x" * 10**5],
]  # fmt: skip


def valid_or_refused(config, **settings):
    try:
        return config(**settings)
    except (ValueError, TypeError) as error:
        said = str(error)
    assert said.startswith(f"{config.__name__}.")
    assert len(said) < 400
    return None


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(BrokerConfig)])
def test_odd_settings_of_a_broker(path, name):
    for value in ODD:
        config = valid_or_refused(BrokerConfig, **{name: value})
        if config is not None:
            Broker(path, config=config)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Rule)])
def test_odd_rules(path, name):
    for value in ODD:
        rule = valid_or_refused(Rule, **{"publish": ["events.#"], name: value})
        config = None if rule is None else valid_or_refused(BrokerConfig, rules=[rule])
        if config is not None:
            Broker(path, config=config)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(RateLimit)])
def test_odd_rate_limits(path, name):
    for value in ODD:
        limit = valid_or_refused(RateLimit, **{"messages_per_second": 5, name: value})
        if limit is not None:
            Broker(path, config=BrokerConfig(rate_limit=limit))


async def test_odd_places_and_ids(path):
    async with Broker(path) as broker:
        for value in ODD:
            for what, name in (
                (lambda odd: Broker(path, config=odd), "config"),
                (lambda odd: Broker.from_listener(odd), "listener"),
                (lambda odd: Broker(odd), "path"),
                (broker.disconnect_client, "client_id"),
                (lambda odd: broker.subscribe_client(odd, []), "client_id"),
                (lambda odd: broker.subscribe_client("00000000-0000-0000-0000-000000000000", odd), "patterns"),
            ):
                said = f"{name}: "
                try:
                    what(value)
                except UnicodeError as error:
                    said = repr(error)
                except (ValueError, TypeError) as error:
                    said = str(error)
                except (OSError, EventBusError):
                    pass
                assert said.startswith(f"{name}: "), (name, value)
        for wrong in (5, None, "broker"):
            with pytest.raises(TypeError, match="broker: expected Broker"):
                await EventBus.from_broker(wrong)
            with pytest.raises(TypeError, match="config: expected ClientConfig"):
                await EventBus.connect(path, config=wrong or 0)


@pytest.mark.parametrize("name", ["rules", "rate_limit", "original_patterns", "allowed_uids", "allowed_sids"])
@pytest.mark.parametrize("text", ["", b""], ids=["str", "bytes"])
def test_text_is_not_an_empty_list(name, text):
    with pytest.raises(TypeError, match=rf"BrokerConfig\.{name}: expected"):
        BrokerConfig(**{name: text})


@pytest.mark.parametrize("name", ["", "a\n", "\x1b[2J", "\ud800"])
def test_an_unprintable_token_name_is_refused(name):
    with pytest.raises(ValueError, match=r"BrokerConfig\.token: a name") as caught:
        BrokerConfig(token={name: b"y" * 16})
    assert "yyy" not in str(caught.value)


@pytest.mark.parametrize(
    "tokens",
    [
        {"agent": b"y" * 16, "collector": b"y" * 16},
        {"agent": [b"x" * 16, b"y" * 16], "collector": b"y" * 16},
        [("agent", b"y" * 16), b"y" * 16],
    ],
)
def test_two_names_of_one_token_are_refused(tokens):
    """Rules for one of them would never hold."""
    with pytest.raises(ValueError, match=r"BrokerConfig\.token: one secret has 'agent' and") as caught:
        BrokerConfig(token=tokens)
    assert "yyy" not in str(caught.value)
    BrokerConfig(token={"agent": [b"y" * 16, b"y" * 16], "collector": b"x" * 16})


async def test_odd_settings_of_a_client(path):
    async with Broker(path) as broker:
        for field in dataclasses.fields(ClientConfig):
            for value in ODD:
                config = valid_or_refused(ClientConfig, **{field.name: value})
                if config is None or field.name in {"token", "server_uids"}:
                    continue
                if field.name.endswith("timeout") and value == 0:
                    continue
                async with EventBus.connect(path, config=config) as bus:
                    await bus.publish(process(1))
                async with EventBus.from_broker(broker, config=config) as bus:
                    await bus.publish(process(1))


@pytest.mark.parametrize(
    "name", ["handshake_timeout", "frame_timeout", "write_timeout", "stall_timeout", "ping_timeout"]
)
def test_a_time_may_be_each_of_its_bounds(name: str):
    longest = 7 * 24 * 3600
    for value in (longest, float(longest)):
        assert getattr(BrokerConfig(**{name: value}), name) == longest
    for value in (0, -1.0, longest + 1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=rf"{name}: must be between "):
            BrokerConfig(**{name: value})
    for wrong in (True, "1", None):
        with pytest.raises(TypeError, match=rf"{name}: expected seconds as float, got "):
            BrokerConfig(**{name: wrong})
    assert ClientConfig(connect_timeout=0, publish_timeout=0.0).connect_timeout == 0, "at once"


@pytest.mark.parametrize(
    ("config", "name", "low", "high"),
    [
        (BrokerConfig, "max_frame", 1024, 64 << 20),
        (BrokerConfig, "max_connections", 1, 2**16),
        (BrokerConfig, "max_connections_per_uid", 1, 2**16),
        (BrokerConfig, "queue_messages", 1, 2**30),
        (BrokerConfig, "queue_bytes", 1, 2**40),
        (BrokerConfig, "total_queue_bytes", 1, 2**40),
        (BrokerConfig, "max_patterns_per_client", 1, 2**20),
        (BrokerConfig, "max_filter_terms", 0, 2**20),
        (BrokerConfig, "max_original_peers", 0, 2**16),
        (BrokerConfig, "max_topic_depth", 1, 128),
        (ClientConfig, "max_frame", 1024, 64 << 20),
        (ClientConfig, "send_buffer_bytes", 1, 2**63 - 1),
        (ClientConfig, "broker_queue_messages", 1, 2**63 - 1),
        (ClientConfig, "broker_queue_bytes", 1, 2**63 - 1),
    ],
)
def test_a_number_may_be_each_of_its_bounds(path, config, name, low, high):
    # The pattern that it has otherwise needs a depth of two.
    rest = {"original_patterns": ()} if config is BrokerConfig else {}
    for value in (low, high):
        made = config(**{name: value, **rest})
        assert getattr(made, name) == value
        if config is BrokerConfig:
            Broker(path, config=made)
    for value in (low - 1, high + 1):
        with pytest.raises(ValueError, match=rf"^{config.__name__}\.{name}: must be between {low} and {high}\b"):
            config(**{name: value, **rest})


async def test_odd_bounds_and_timeouts(path):
    broker = Broker(path)
    await broker.start()
    async with EventBus.from_broker(broker) as bus:
        for name in ("queue_messages", "queue_bytes"):
            for value in ODD:
                try:
                    async with bus.subscribe("events.#", **{name: value}):
                        assert isinstance(value, int)
                        assert 1 <= int.__add__(value, 0) < 2**63
                    said = f"{name}: "
                except (ValueError, TypeError) as error:
                    said = str(error)
                assert said.startswith(f"{name}: ")
        for value in [*ODD, ["drop_oldest"]]:
            with pytest.raises((ValueError, TypeError), match=r"^overflow: .{,150}$"):
                async with bus.subscribe("events.#", overflow=value):
                    pass
        for value in (HUGE, float("inf"), 1e300, -HUGE):
            try:
                await bus.flush(timeout=value)
            except TimeoutError:
                assert value < 0
    assert await broker.shutdown(HUGE) == 0


def test_a_mode_that_was_not_written_in_octal_is_told_so():
    with pytest.raises(ValueError, match=r"socket_mode: must be 0o600 or 0o660, got 0o1224; modes are octal"):
        BrokerConfig(socket_mode=660)


def test_what_goes_together_is_said_at_once():
    with pytest.raises(ValueError, match=r"BrokerConfig.socket_group: has no effect"):
        BrokerConfig(socket_group=0)
    with pytest.raises(ValueError, match=r"BrokerConfig.original_patterns: .*nowhere"):
        BrokerConfig(original_patterns=["nowhere.#"])
    for pattern, words in [
        ("health.#", "the original knows events and control"),
        ("events.*.#", "no wildcard of the original"),
        ("events.a.b.c.d.e", "6 levels (max 5)"),
    ]:
        with pytest.raises(ValueError, match=r"BrokerConfig.original_patterns: .*" + re.escape(words)):
            BrokerConfig(original_patterns=[pattern])
    with pytest.raises(ValueError, match=r"original_patterns: .*4 levels \(max 3\)"):
        BrokerConfig(original_patterns=["events.a.b.c"], max_topic_depth=3)
    # Of a default, too, that nobody wrote.
    too_deep = r"original_patterns: .*: events.#; give patterns of 1 segments at most there, or raise max_topic_depth$"
    with pytest.raises(ValueError, match=too_deep):
        BrokerConfig(max_topic_depth=1)
    assert BrokerConfig(max_topic_depth=1, original_patterns=["events"]).max_topic_depth == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"token": b"s" * 16, "original_auth": True, "original_peers": False},
            "BrokerConfig.original_auth: has no effect without original_peers",
        ),
        (
            {"original_patterns": ["events.a", "events.b"], "max_patterns_per_client": 1},
            "BrokerConfig.original_patterns: 2 are above max_patterns_per_client",
        ),
        ({"original_auth": True}, "BrokerConfig.original_auth: needs a token"),
        (
            {"ping_interval": 5, "ping_timeout": 5},
            "BrokerConfig.ping_timeout: must be above ping_interval (5 s), got 5",
        ),
        ({"token": b"s" * 15}, "BrokerConfig.token: 15 bytes are too few, at least 16"),
        ({"token": {"agent": [b"s" * 16, b"s" * 15]}}, "BrokerConfig.token: 15 bytes are too few"),
        ({"token": []}, "BrokerConfig.token: an empty list would ask for no proof"),
        (
            {"rate_limit": [RateLimit(messages_per_second=1), RateLimit(bytes_per_second=1)]},
            "BrokerConfig.rate_limit: two limits of the same kind",
        ),
        pytest.param({"socket_mode": 0o660}, "BrokerConfig.socket_group: a socket of mode 0o660 needs", marks=UNIX),
        pytest.param({"allowed_uids": [54321]}, "BrokerConfig.allowed_uids: others cannot open", marks=UNIX),
        pytest.param({"allowed_sids": ["S-1-5-18"]}, "BrokerConfig.allowed_sids: has no effect on Unix", marks=UNIX),
        pytest.param({"socket_group": 2**32 - 1}, "BrokerConfig.socket_group: must be between", marks=UNIX),
    ],
)
def test_what_no_broker_would_take_is_no_configuration(settings, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        BrokerConfig(**settings)


def test_what_goes_together_is_taken(path):
    limits = [RateLimit(messages_per_second=1), RateLimit(per="uid", connects_per_second=1)]
    rules = [Rule(tokens=["agent"], publish=["events.#"])]
    for settings in (
        {"token": b"s" * 16, "original_auth": True},
        {"original_peers": False},
        {"original_patterns": ["events.a", "events.b"], "max_patterns_per_client": 2},
        {"ping_interval": 5, "ping_timeout": 5.001},
        {"token": {"agent": b"s" * 16}, "rules": rules},
        {"rate_limit": limits},
    ):
        config = BrokerConfig(**settings)
        # A list that is changed afterwards changes nothing of it.
        assert hash(config) == hash(BrokerConfig(**settings))
        Broker(path, config=config)


@UNIX
def test_a_uid_may_be_each_of_its_bounds(path):
    ends = (0, 2**32 - 2)
    for config in (
        BrokerConfig(rules=[Rule(uids=ends, publish=["events.#"])]),
        BrokerConfig(socket_mode=0o660, socket_group=2**32 - 2, allowed_uids=ends),
        BrokerConfig(allowed_uids=[0, os.geteuid()]),
    ):
        Broker(path, config=config)
    assert ClientConfig(server_uids=ends).server_uids == ends
    for uid in (-1, 2**32 - 1):
        with pytest.raises(ValueError, match=r"^Rule\.uids: must be between"):
            Rule(uids=[uid], publish=["events.#"])
        with pytest.raises(ValueError, match=r"^BrokerConfig\.allowed_uids: must be between"):
            BrokerConfig(allowed_uids=[uid])
        with pytest.raises(ValueError, match=r"^ClientConfig\.server_uids: must be between"):
            ClientConfig(server_uids=[uid])


def test_the_name_of_a_token_is_text():
    with pytest.raises(TypeError, match=r"BrokerConfig\.token: expected names as str, got int"):
        BrokerConfig(token={5: b"s" * 16})


def test_a_configuration_is_shown_as_it_is_written():
    config = BrokerConfig(
        socket_mode=0o660,
        socket_group=0,
        rate_limit=RateLimit(messages_per_second=5),
        rules=[Rule(publish=["events.#"])],
    )
    assert ", socket_mode=0o660, socket_group=0, " in repr(config)
    for shown in (config, BrokerConfig(), ClientConfig(client="x")):
        assert eval(repr(shown)) == shown


SECRET = b"0123456789-hunted-secret"


@pytest.mark.parametrize(
    "config",
    [BrokerConfig(token=SECRET), BrokerConfig(token={"agent": [SECRET]}), ClientConfig(token=SECRET)],
    ids=["broker", "named", "client"],
)
def test_what_shows_a_token_and_what_carries_it(config):
    """As SECURITY.md says it."""

    def fail(config):
        raise LookupError

    try:
        fail(config)
    except LookupError as error:
        told = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        assert "max_frame" in told
    for made_of_it in (config, [config], dataclasses.asdict(config), dataclasses.astuple(config), config.token):
        for shown in (repr(made_of_it), str(made_of_it), f"{made_of_it}", pprint.pformat(made_of_it), told):
            assert "hunted" not in shown
    assert SECRET in pickle.dumps(config)
    for same in (pickle.loads(pickle.dumps(config)), copy.copy(config), copy.deepcopy(config)):
        assert same == config
        assert hash(same) == hash(config)
        assert same.token == config.token
        assert "hunted" not in f"{same!r} {same.token!r}"
