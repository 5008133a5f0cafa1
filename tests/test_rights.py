"""Who may publish and subscribe what, and who is named as sender: foreign uids where a uid decides (needs root)."""

import asyncio
import dataclasses
import json
import os
import pickle
import time

import pytest
import pytest_asyncio

import raw as wire
from daemoneye_eventbus import (
    AuthenticationFailed,
    Broker,
    BrokerConfig,
    ClientConfig,
    EventBus,
    EventFilter,
    NetworkEvent,
    PermissionRefused,
    Rule,
    Sender,
)
from support import NOBODY, TOPIC, collect, eventually, process, remote_clients, take_all

SOLO = ClientConfig(pool=False, connect_timeout=3.0)
OWN = os.geteuid()
SECRETS = {"agent": b"a" * 32, "collector": [b"c" * 32, b"d" * 32]}
foreign = pytest.mark.usefixtures("as_root")


def open_to_nobody(**settings):
    return BrokerConfig(allowed_uids=(NOBODY,), socket_mode=0o660, socket_group=NOBODY, **settings)


async def asked(child, **command):
    return await asyncio.to_thread(lambda: child.ask(**command))


# --- who may what ---------------------------------------------------------------------------


@foreign
async def test_others_may_do_nothing_on_control_unless_a_rule_lets_them(open_folder, program):
    path = str(open_folder / "b.sock")
    async with Broker(path, config=open_to_nobody()) as broker:
        async with EventBus.from_broker(broker) as agent, agent.subscribe("#", include_control=True) as heard:
            child = program("other_user_client.py", path, user=NOBODY)
            await child.answer()
            assert await asked(child, do="publish", topic=TOPIC) == {"refused": 0}
            assert await asked(child, do="publish", topic="health.member") == {"refused": 0}
            assert await asked(child, do="publish", topic="control.agent.stop", count=3) == {"refused": 3}
            for pattern in ("events.#", "events.process.*", "health.#"):
                assert await asked(child, do="subscribe", pattern=pattern) == {"ok": True}
            for pattern in ("#", "*", "control.#", "control.agent.stop", "+.agent.stop"):
                said = await asked(child, do="subscribe", pattern=pattern)
                assert (said["raised"], said["uid"]) == ("PermissionRefused", NOBODY), pattern
                assert pattern in said["message"]
            assert await asked(child, do="publish", topic=TOPIC) == {"refused": 0}, "the connection was kept"
            child.finish()
            assert [item.topic for item in await collect(heard, 3)] == [TOPIC, "health.member", TOPIC]
            assert take_all(heard) == []
        assert broker.statistics().refused["rights"] == 3 + 5


@foreign
async def test_rules_for_uids(open_folder, program):
    path = str(open_folder / "b.sock")
    rules = [
        Rule(uids=[NOBODY], publish=["control.collector.ready"], subscribe=["control.collector.*"]),
        Rule(uids=[NOBODY], publish=["events.process.*"]),
        Rule(uids=[NOBODY], publish=["#"], subscribe=["events.#"], allow=False),
    ]
    async with Broker(path, config=open_to_nobody(rules=rules)) as broker:
        child = program("other_user_client.py", path, user=NOBODY)
        await child.answer()
        assert await asked(child, do="publish", topic=TOPIC) == {"refused": 0}
        assert await asked(child, do="publish", topic="events.network.new") == {"refused": 1}
        assert await asked(child, do="publish", topic="control.collector.ready") == {"refused": 0}
        assert await asked(child, do="publish", topic="control.collector.stop") == {"refused": 1}
        assert await asked(child, do="subscribe", pattern="control.collector.#") != {"ok": True}
        assert await asked(child, do="subscribe", pattern="control.collector.*") == {"ok": True}
        assert await asked(child, do="subscribe", pattern="events.process.new") != {"ok": True}
        child.finish()
        # None of them names the broker's own user.
        async with EventBus.connect(path, config=SOLO) as mine, mine.subscribe("#", include_control=True) as heard:
            await mine.publish_control("control.collector.stop", b"")
            await collect(heard, 1)
        assert broker.statistics().refused["rights"] == 4


async def test_rules_for_tokens(path):
    rules = [
        Rule(tokens=["agent"], publish=["#"], subscribe=["#"]),
        Rule(tokens=["collector"], publish=["events.#"]),
        Rule(publish=["#"], subscribe=["#"], allow=False),
    ]
    async with Broker(path, config=BrokerConfig(token=SECRETS, rules=rules)):
        for secret in SECRETS["collector"]:
            async with EventBus.connect(path, config=ClientConfig(pool=False, token=secret)) as collector:
                await collector.publish(process(1))
                await collector.publish_control("control.agent.stop", b"")
                await collector.flush()
                assert collector.local_statistics()["refused"] == 1
                with pytest.raises(PermissionRefused):
                    await collector.subscribe("events.process.new")
        async with EventBus.connect(path, config=ClientConfig(pool=False, token=SECRETS["agent"])) as agent:
            async with agent.subscribe("#", include_control=True) as heard:
                await agent.publish_control("control.agent.stop", b"")
                await collect(heard, 1)
            assert agent.local_statistics()["refused"] == 0


async def test_who_is_refused_by_a_rule_for_tokens_is_told_and_logged_by_the_name_of_its_token(path, caplog):
    rules = [Rule(tokens=["collector"], publish=["events.x"], subscribe=["#"], allow=False)]
    who = f'uid {OWN} with the token "collector" may not'
    async with Broker(path, config=BrokerConfig(token=SECRETS, rules=rules)):
        config = ClientConfig(client="procmond", pool=False, token=SECRETS["collector"][0])
        async with EventBus.connect(path, config=config) as collector:
            with pytest.raises(PermissionRefused, match=who):
                await collector.subscribe("events.#")
            await eventually(lambda: f'refused: {who} subscribe "events.#"' in caplog.text)
            await collector.publish(process(1), topic="events.x")
            await collector.flush()
            await eventually(lambda: f"the broker refused what was published: {who} publish on this" in caplog.text)
    assert "cccc" not in caplog.text


async def test_a_refused_publish_of_the_own_process_says_on_which_topic(broker_with):
    broker = await broker_with(rules=[Rule(publish=["events.network.*"], allow=False)])
    async with EventBus.from_broker(broker) as bus:
        with pytest.raises(PermissionRefused, match=f'uid {OWN} may not publish on "events.network.new"') as caught:
            await bus.publish_many([process(1), NetworkEvent("c", "a", "b", "tcp")])
        assert (caught.value.topic, caught.value.accepted) == ("events.network.new", 1)
        with pytest.raises(PermissionRefused) as caught:
            await bus.publish(process(1), topic="events.network.stop")
        assert caught.value.topic == "events.network.stop"


async def test_a_rule_for_everybody_names_buses_of_the_own_process_too(broker_with):
    broker = await broker_with(rules=[Rule(publish=["control.#"], subscribe=["control.#"], allow=False)])
    async with EventBus.from_broker(broker) as bus, bus.subscribe("events.#") as heard:
        with pytest.raises(PermissionRefused) as caught:
            await bus.publish_control("control.agent.stop", b"")
        assert caught.value.uid == OWN
        with pytest.raises(PermissionRefused):
            await bus.subscribe("control.agent.stop")
        await bus.publish(process(7))
        assert (await heard.get(timeout=5)).event.pid == 7
    assert broker.statistics().refused["rights"] == 2
    assert broker.statistics().messages_published == 1


async def test_the_first_rule_that_matches_decides(broker_with, path):
    rules = [
        Rule(publish=["events.process.start"]),
        Rule(publish=["events.process.*"], allow=False),
        Rule(publish=["events.process.stop"]),
    ]
    await broker_with(rules=rules)
    async with EventBus.connect(path, config=SOLO) as bus:
        for topic, refused in (("start", 0), ("stop", 1), ("new", 1)):
            before = bus.local_statistics()["refused"]
            await bus.publish(process(1), topic=f"events.process.{topic}")
            await bus.flush()
            assert bus.local_statistics()["refused"] - before == refused, topic


async def test_a_refused_publish_names_topic_and_sequence_and_hurts_no_neighbour(broker_with, path, raw):
    broker = await broker_with(rules=[Rule(publish=["events.file.#"], allow=False)])
    peer = raw(path)
    peer.connect()
    peer.subscribe(1, "events.#")
    good, bad = "events.process.new", "events.file.x"
    topics = [good, bad, bad, good, good, bad, good]
    peer.send(*[wire.process_message(n, topic=topic, sequence=n) for n, topic in enumerate(topics)])
    peer.say("PING")
    refused, got = 0, []
    while True:
        body = peer.receive()
        if body[0] == 0x10:
            got.append(wire.decode_message(body).sequence)
        elif body == b"PONG":
            break
        else:
            err = json.loads(body.removeprefix(b"ERR "))
            assert (err["code"], err["topic"]) == ("rights", bad)
            refused += err.get("count", 1)
            last = err["sequence"]
    assert (got, refused, last) == ([0, 3, 4, 6], 3, 5)
    assert broker.statistics().refused == {"rights": 3}
    assert broker.statistics().messages_published == 4


async def test_a_subscription_is_allowed_only_if_all_its_topics_are(broker_with, path):
    rules = [
        Rule(subscribe=["events.+.new", "events.process.*"]),
        Rule(subscribe=["#"], allow=False),
    ]
    await broker_with(rules=rules)
    allowed = ("events.process.new", "events.process.*", "events.process.+", "events.+.new", "events.process.+.x")
    refused = ("events.process", "events.process.#", "events.+.+", "events.*", "#", "events.+.new.x", "+.+.new")
    async with EventBus.connect(path, config=SOLO) as bus, EventBus.connect(path, config=SOLO) as other:
        for one in (bus, other):
            for pattern in allowed:
                async with one.subscribe(pattern):
                    pass
            for pattern in refused:
                with pytest.raises(PermissionRefused, match="may not subscribe"):
                    await one.subscribe(pattern)
            with pytest.raises(PermissionRefused):
                await one.subscribe("events.process.new", "events.network.stop")


async def test_a_subscription_that_the_next_broker_does_not_allow_says_so_and_is_logged(path, caplog):
    first = Broker(path)
    await first.start()
    async with EventBus.connect(path, config=SOLO) as bus, bus.subscribe("events.#", "control.#") as heard:
        await first.shutdown()
        async with Broker(path, config=BrokerConfig(rules=[Rule(subscribe=["control.#"], allow=False)])):
            for take in (heard.__anext__, heard.get, lambda: heard.get_many(5)):
                with pytest.raises(PermissionRefused, match="may not subscribe"):
                    await take()
            with pytest.raises(PermissionRefused):
                heard.get_nowait()
            with pytest.raises(PermissionRefused):
                await bus.subscribe("control.#")
            async with bus.subscribe("events.#"):
                pass
            await eventually(lambda: "does not take this subscription again" in caplog.text)


# --- who published --------------------------------------------------------------------------


@foreign
async def test_the_sender_is_the_kernels_word(open_folder, program):
    path = str(open_folder / "b.sock")
    async with Broker(path, config=open_to_nobody()) as broker:
        async with EventBus.from_broker(broker) as agent, agent.subscribe("#", include_control=True) as heard:
            child = program("other_user_client.py", path, user=NOBODY)
            await child.answer()
            (info,) = remote_clients(broker)
            await asked(child, do="publish", topic=TOPIC, count=100)
            for item in await collect(heard, 100):
                assert item.sender == Sender(uid=NOBODY, pid=child.pid, client_id=info.id)
            child.finish()
            async with EventBus.connect(path, config=SOLO) as mine:
                (info,) = [client for client in remote_clients(broker) if client.pid == os.getpid()]
                await mine.publish_control("control.agent.x", b"")
                assert (await heard.get(timeout=5)).sender == Sender(uid=0, pid=os.getpid(), client_id=info.id)


async def test_every_sender_is_told_apart_whatever_stands_between(broker_with, path, raw):
    """Filters, another dialect, a full queue and a waiting publisher all take other ways through the broker."""
    broker = await broker_with()
    async with (
        EventBus.from_broker(broker) as agent,
        agent.subscribe("events.#") as plain,
        agent.subscribe("events.#", event_filter=EventFilter(event_types=["process"])) as filtered,
        agent.subscribe("events.#", queue_messages=8, overflow="block") as narrow,
        EventBus.from_broker(broker) as local,
        EventBus.connect(path, config=SOLO) as drops,
        EventBus.connect(path, config=ClientConfig(pool=False, dialect="postcard", congestion="block")) as waits,
    ):
        ids = {client.dialect: client.id for client in remote_clients(broker)}
        for number in range(50):
            await drops.publish(process(number), "drops")
            await local.publish(process(number), "local")
        await drops.flush()
        got = await collect(plain, 100) + await collect(filtered, 100)
        for item in got:
            assert (item.sender.uid, item.sender.pid) == (OWN, os.getpid())
            assert (item.sender.client_id == ids["bincode"]) == (item.correlation_id == "drops")
        local_ids = {item.sender.client_id for item in got if item.correlation_id == "local"}
        (local_id,) = local_ids
        assert local_id in {client.id for client in broker.clients() if client.peer == "local"}
        take_all(narrow)
        for number in range(100):
            await waits.publish(process(number), "waits")
        for item in await collect(narrow, 100):
            assert item.sender.client_id == ids["postcard"]
        for item in await collect(plain, 100):
            assert item.sender.client_id == ids["postcard"]


async def test_a_client_is_not_told_and_a_pickle_is_no_word_of_the_kernel(broker_with, path):
    broker = await broker_with()
    async with (
        EventBus.connect(path, config=SOLO) as bus,
        bus.subscribe("events.#") as remote_heard,
        EventBus.from_broker(broker) as agent,
        agent.subscribe("events.#") as heard,
    ):
        await bus.publish(process(1))
        told, untold = await heard.get(timeout=5), await remote_heard.get(timeout=5)
        assert untold.sender is None
        assert told.sender is not None
        again = pickle.loads(pickle.dumps(told))
        assert (
            again == told == untold.__replace__(matched_pattern=told.matched_pattern, subscriber_id=told.subscriber_id)
        )
        assert again.sender is None
        assert pickle.loads(pickle.dumps(told.sender)) == told.sender


# --- the proof of a token -------------------------------------------------------------------


async def test_refusals_of_a_wrong_proof_come_later_each_time_and_the_right_one_at_once(broker_with, path, raw):
    broker = await broker_with(token=b"5ecret" * 8)
    waits = []
    for _ in range(4):
        peer = raw(path)
        peer.connect(nonce="11" * 32)
        begin = time.monotonic()
        peer.say("AUTH", proof="00" * 32)
        assert peer.closed()["code"] == "authentication_failed"
        waits.append(time.monotonic() - begin)
    for wait, least in zip(waits, (0.1, 0.2, 0.4, 0.8), strict=True):
        assert least <= wait < least + 0.5, waits
    begin = time.monotonic()
    async with EventBus.connect(path, config=ClientConfig(pool=False, token=b"5ecret" * 8)):
        assert time.monotonic() - begin < 0.5
    await eventually(lambda: broker.statistics().refused.get("authentication_failed") == 4)


async def test_a_recorded_handshake_is_worth_nothing(broker_with, path, raw):
    await broker_with(token=b"5ecret" * 8)
    one, two = raw(path), raw(path)
    nonces = [peer.connect(nonce="11" * 32)["nonce"] for peer in (one, two)]
    assert nonces[0] != nonces[1]
    with pytest.raises(AuthenticationFailed):
        await EventBus.connect(path, config=ClientConfig(pool=False, token=b"wrong!" * 8))
    with pytest.raises(AuthenticationFailed):
        await EventBus.connect(path, config=SOLO)


# --- what is asked for ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Rule(), "Rule.publish: neither"),
        (lambda: Rule(publish="events.#"), "Rule.publish: expected a sequence of str, got str"),
        (lambda: Rule(publish=[1]), "Rule.publish: expected str, got int"),
        (lambda: Rule(publish=["a"], uids=[]), "Rule.uids: an empty list names nobody"),
        (lambda: Rule(publish=["a"], uids=[-1]), "Rule.uids: must be between 0 and"),
        (lambda: Rule(publish=["a"], uids=[True]), "Rule.uids: expected int"),
        (lambda: Rule(publish=["a"], uids=[10**400]), "Rule.uids: must be between 0 and"),
        (lambda: Rule(publish=["a"], tokens="x"), "Rule.tokens: expected a sequence"),
        (lambda: Rule(publish=["a"], allow=1), "Rule.allow: expected bool"),
        (lambda: BrokerConfig(rules=[Rule(publish=["nowhere.x"])]), "BrokerConfig.rules: .*nowhere"),
        (lambda: BrokerConfig(rules=[Rule(publish=["events.#.x"])]), "BrokerConfig.rules: .*must be at the end"),
        (lambda: BrokerConfig(rules=[Rule(subscribe=["events.a.b"])], max_topic_depth=2), "BrokerConfig.rules"),
        (lambda: BrokerConfig(rules=Rule(publish=["events.#"])), "BrokerConfig.rules: expected a sequence of Rule"),
        (lambda: BrokerConfig(rules=[{"publish": ["#"]}]), "BrokerConfig.rules: expected Rule, got dict"),
        (lambda: BrokerConfig(rules=[Rule(publish=["#"], tokens=["x"])]), "no token is named 'x'"),
        (
            lambda: BrokerConfig(token={"x": b"short"}),
            "BrokerConfig.token: 5 bytes are too few, at least 16 are needed",
        ),
        (lambda: BrokerConfig(token={1: b"s" * 32}), "BrokerConfig.token: expected names as str"),
        (lambda: BrokerConfig(token={}), "BrokerConfig.token: an empty list"),
    ],
)
def test_rules_are_checked_where_they_are_made(make, said):
    with pytest.raises((ValueError, TypeError), match=said):
        make()


def test_a_config_with_rules_and_named_tokens_is_a_value():
    config = BrokerConfig(token=SECRETS, rules=[Rule(tokens=["agent"], publish=["#"])])
    again = dataclasses.replace(config, max_connections=3)
    assert (again.token, again.rules) == (config.token, config.rules)
    assert pickle.loads(pickle.dumps(config)) == config
    assert hash(config) == hash(dataclasses.replace(again, max_connections=256))
    assert "aaaa" not in repr(config)


@pytest_asyncio.fixture
async def broker_with(path):
    started = []

    async def start(**settings):
        broker = Broker(path, config=BrokerConfig(**settings))
        await broker.start()
        started.append(broker)
        return broker

    yield start
    for broker in started:
        await broker.shutdown()
