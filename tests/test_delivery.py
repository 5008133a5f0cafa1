"""Delivery between processes: nothing lost with `block`, and exact counts where something is."""

import asyncio

import pytest

from daemoneye_eventbus import Broker, BrokerConfig, ClientConfig, EventBus
from support import LONG, TOPIC, eventually, process, remote_clients
from test_topics_table import naive

BLOCK = {"congestion": "block", "publish_timeout": 60.0}
MANY = 1_000_000 if LONG else 100_000


@pytest.mark.limit(90)
def test_three_processes_in_order_none_lost(path, program):
    broker = program("broker.py", path)
    broker.json()
    spec = {"patterns": [TOPIC], "expect": MANY, "options": {"overflow": "block"}}
    subscriber = program("subscriber.py", path, spec)
    subscriber.json()
    publisher = program("publisher.py", path, MANY, {"config": BLOCK})
    publisher.json()
    assert publisher.json(60)["published"] == MANY
    account = subscriber.json(60)
    assert account["end"] == "complete"
    assert (account["received"], account["distinct"]) == (MANY, MANY)
    assert account["in_order"]
    assert account["first"] == [0]
    assert account["last"] == [MANY - 1]
    assert (account["dropped"], account["gaps"], account["dropped_before"]) == (0, 0, 0)
    for child in (publisher, subscriber, broker):
        child.finish()


@pytest.mark.limit(90)
def test_a_slow_reader_with_block_holds_the_publisher_back(path, program):
    """Tiny queues everywhere and a reader that pauses after each event: still nothing lost."""
    count = 3000
    broker = program("broker.py", path, {"queue_messages": 64, "stall_timeout": 5.0})
    broker.json()
    spec = {
        "patterns": [TOPIC],
        "expect": count,
        "delay": 0.0005,
        "options": {"overflow": "block", "queue_messages": 16},
    }
    subscriber = program("subscriber.py", path, spec)
    subscriber.json()
    publisher = program("publisher.py", path, count, {"config": BLOCK})
    publisher.json()
    account = subscriber.json(60)
    assert (account["received"], account["dropped"]) == (count, 0)
    assert account["in_order"]
    publisher.json()
    for child in (publisher, subscriber, broker):
        child.finish()


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
@pytest.mark.limit(60)
async def test_a_stopped_subscriber_is_told_exactly_what_it_lost(path, program, policy):
    count = 30_000
    broker = program("broker.py", path, {"stall_timeout": 0.5})
    await broker.answer()
    spec = {
        "patterns": [TOPIC],
        "expect": count,
        "config": {"broker_overflow": policy, "broker_queue_messages": 500, "pool": False},
    }
    stopped = program("subscriber.py", path, spec)
    await stopped.answer()
    reader = program(
        "subscriber.py",
        path,
        {"patterns": [TOPIC], "expect": count, "options": {"overflow": "block"}},
    )
    await reader.answer()
    stopped.freeze()
    async with EventBus.connect(path, config=ClientConfig(**BLOCK)) as bus:
        for number in range(count):
            await bus.publish(process(number))
        await bus.flush()
        undisturbed = await reader.answer()
        assert (undisturbed["received"], undisturbed["dropped"]) == (count, 0)
        stopped.thaw()
        account = await stopped.answer()
    assert account["received"] + account["dropped"] == count
    assert account["dropped"] > count // 2, "the queue was far too small for this"
    assert account["in_order"]
    assert account["distinct"] == account["received"]
    assert account["misplaced"] == [], "dropped_before is the very number missing there"
    if policy == "drop_oldest":
        assert account["last"] == [count - 1]
        assert account["dropped_before"] == account["dropped"]
    else:
        assert account["last"] == [account["received"] - 1]
        assert account["dropped_before"] == 0
    for child in (stopped, reader, broker):
        child.finish()


@pytest.mark.limit(60)
async def test_disconnect_policy_cuts_the_stopped_reader(path, program):
    count = 20_000
    spec = {
        "patterns": [TOPIC],
        "expect": count,
        "config": {
            "broker_overflow": "disconnect",
            "broker_queue_messages": 500,
            "pool": False,
            "reconnect": False,
            "client": "stopped",
        },
    }
    config = BrokerConfig(write_timeout=0.5)
    async with Broker(path, config=config) as broker, EventBus.from_broker(broker) as bus:
        stopped = program("subscriber.py", path, spec)
        await stopped.answer()
        stopped.freeze()
        assert [c.name for c in remote_clients(broker)] == ["stopped"]
        for number in range(count):
            await bus.publish(process(number))
        await eventually(lambda: remote_clients(broker) == [], what="cut")
        stopped.thaw()
        account = await stopped.answer()
        assert account["end"] == "ConnectionLost"
        assert 0 < account["received"] < count
        assert account["in_order"]
        assert account["last"] == [account["received"] - 1]
        statistics = await bus.statistics()
        assert statistics.messages_published == count
        assert statistics.messages_delivered == account["received"], "what the kernel took"
        dropped = broker.statistics().dropped
        assert dropped["disconnected"] == 500, "what its queue held when it was cut"
    stopped.finish()


@pytest.mark.limit(60)
async def test_a_stalled_block_reader_is_not_waited_for(path, program):
    """Nothing read for `stall_timeout`: the queue's own policy applies, others go on."""
    count = 20_000
    broker = program("broker.py", path, {"stall_timeout": 0.5, "queue_messages": 1000})
    await broker.answer()
    block = {"patterns": [TOPIC], "expect": count, "options": {"overflow": "block"}}
    reader = program("subscriber.py", path, block)
    stopped = program("subscriber.py", path, block)
    await reader.answer()
    await stopped.answer()
    stopped.freeze()
    async with EventBus.connect(path, config=ClientConfig(**BLOCK)) as bus:
        clock = asyncio.get_running_loop().time
        begin = clock()
        for number in range(count):
            await bus.publish(process(number))
        await bus.flush(timeout=20)
        assert 0.4 < clock() - begin < 10, "waited by the stall rule, and not longer"
        undisturbed = await reader.answer()
        assert (undisturbed["received"], undisturbed["dropped"]) == (count, 0)
        stopped.thaw()
        account = await stopped.answer()
        assert account["received"] + account["dropped"] == count
        assert account["dropped"] > 0
        assert account["misplaced"] == []
    for child in (reader, stopped, broker):
        child.finish()


@pytest.mark.parametrize("kind", ["local", "remote"])
async def test_a_stopped_reader_stalls_also_while_its_queue_is_not_full(path, program, kind):
    """A large message that did not fit was waited for without end: each try began the stall timeout anew."""
    config = BrokerConfig(stall_timeout=0.5, queue_bytes=1_000_000, max_frame=1_000_000)
    async with Broker(path, config=config) as broker:
        stopped = program("subscriber.py", path, {"patterns": [TOPIC], "expect": 1})
        await stopped.answer()
        stopped.freeze()
        waits = {"config": ClientConfig(**BLOCK | {"publish_timeout": 20.0})}
        opened = EventBus.connect(path, **waits) if kind == "remote" else EventBus.from_broker(broker, **waits)
        async with opened as bus:
            while max(client.queued_bytes for client in broker.clients()) < 550_000:
                await bus.publish(process(0, executable_path="x" * 3000))
                await bus.flush()
            assert not broker.statistics().dropped
            await bus.publish(process(1, executable_path="x" * 600_000))
            await bus.flush(timeout=10)
        assert broker.statistics().dropped["overflow"] > 0
        stopped.thaw()
        assert (await stopped.answer())["end"] == "complete"
    stopped.finish()


@pytest.mark.limit(90)
async def test_accounting_under_load(path, program):
    """Readers fast, slow and dying; a naive matcher predicts what each of them must account for."""
    topics = ["events.process.new", "events.process.start", "events.network.dns", "health.a"]
    per_publisher, publishers = 8000, 3
    total = per_publisher * publishers
    broker = program("broker.py", path)
    await broker.answer()

    def expected(patterns: list[str]) -> int:
        hits = sum(any(naive(p, t) for p in patterns) for t in topics)
        return total // len(topics) * hits

    wishes = [
        (["events.#"], {}, 0),
        (["events.process.*", "events.process.new"], {"queue_messages": 200}, 0.0005),
        (["#"], {"queue_messages": 100, "overflow": "drop_newest"}, 0.001),
        (["health.+", "events.network.#"], {"overflow": "drop_oldest", "queue_messages": 1}, 0),
        (["events.+.start"], {"overflow": "block"}, 0),
    ]
    readers = []
    for patterns, options, delay in wishes:
        config = {"pool": False, "broker_queue_messages": 2000}
        spec = {
            "patterns": patterns,
            "options": options,
            "delay": delay,
            "expect": expected(patterns),
            "config": config,
        }
        reader = program("subscriber.py", path, spec)
        await reader.answer()
        readers.append(reader)
    dying = [program("subscriber.py", path, {"patterns": ["#"], "expect": 1 << 40}) for _ in "ab"]
    for victim in dying:
        await victim.answer()
    sources = []
    for number in range(publishers):
        spec = {"topics": topics, "wait": True, "offset": number * per_publisher}
        source = program("publisher.py", path, per_publisher, spec)
        await source.answer()
        sources.append(source)
    for source in sources:
        source.tell()
    dying[0].kill()
    for source in sources:
        assert (await source.answer(60))["published"] == per_publisher
        source.finish()
    dying[1].kill()
    for reader, (patterns, _, _) in zip(readers, wishes, strict=True):
        account = await reader.answer(40)
        assert account["end"] == "complete", account
        assert account["received"] + account["dropped"] == expected(patterns), account
        assert account["distinct"] == account["received"]
        assert account["dropped_before"] <= account["dropped"]
        reader.finish()
    broker.finish()
