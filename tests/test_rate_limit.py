"""Rate limits: what is above is refused or waits, is counted, and costs nobody else anything (fault 41)."""

import asyncio
import contextlib
import dataclasses
import itertools
import json
import socket
import statistics
import time

import pytest
import pytest_asyncio

import raw as wire
from daemoneye_eventbus import Broker, BrokerBusy, BrokerConfig, ClientConfig, ConnectTimeout, EventBus, RateLimit
from support import NOBODY, collect, eventually, pids, process

SOLO = ClientConfig(pool=False, connect_timeout=3.0)
WAITS = ClientConfig(pool=False, congestion="block", publish_timeout=30.0)


@pytest_asyncio.fixture
async def limited(path):
    started = []

    async def start(*limits, **settings):
        broker = Broker(path, config=BrokerConfig(rate_limit=limits, **settings))
        await broker.start()
        started.append(broker)
        return broker

    yield start
    for broker in started:
        await broker.shutdown()


async def test_a_publisher_that_does_not_wait_is_refused_what_is_above(limited, path):
    broker = await limited(RateLimit(messages_per_second=200, burst=0.5))
    async with (
        EventBus.from_broker(broker) as agent,
        agent.subscribe("events.#") as heard,
        EventBus.connect(path, config=SOLO) as bus,
    ):
        begin = time.monotonic()
        for number in range(2000):
            await bus.publish(process(number))
        await bus.flush()
        most = 100 + 200 * (time.monotonic() - begin) + 1
        refused = broker.statistics().refused["rate_limit"]
        assert 100 <= 2000 - refused <= most
        assert bus.local_statistics()["refused"] == refused
        got = pids(await collect(heard, 2000 - refused))
        assert got == sorted(got)
        assert got[:100] == list(range(100)), "a burst passes whole"
        assert broker.statistics().messages_published == 2000 - refused
        await asyncio.sleep(0.2)
        await bus.publish(process(5000))
        assert (await heard.get(timeout=5)).event.pid == 5000, "the connection was kept"


async def test_a_publisher_that_waits_is_slowed_and_loses_nothing(limited, path):
    broker = await limited(RateLimit(messages_per_second=400, burst=0.25))
    async with (
        EventBus.from_broker(broker) as agent,
        agent.subscribe("events.#") as heard,
        EventBus.connect(path, config=WAITS) as bus,
    ):
        begin = time.monotonic()
        for number in range(900):
            await bus.publish(process(number))
        await bus.flush(timeout=20)
        lasted = time.monotonic() - begin
        assert pids(await collect(heard, 900)) == list(range(900))
        assert 1.9 <= lasted <= 4, "100 at once, 800 at 400 a second"
    assert broker.statistics().refused == {}


async def test_bytes_are_limited_and_the_largest_message_still_passes(limited, path):
    broker = await limited(RateLimit(bytes_per_second=100_000, burst=1.0))
    async with (
        EventBus.from_broker(broker) as agent,
        agent.subscribe("events.#") as heard,
        EventBus.connect(path, config=WAITS) as bus,
    ):
        begin = time.monotonic()
        await bus.publish(process(0, "x" * 150_000))
        await bus.publish(process(1, "x" * 60_000))
        assert pids(await collect(heard, 2)) == [0, 1]
        assert 1.0 <= time.monotonic() - begin <= 3, "50,000 in debt, and 60,000 more"
    assert broker.statistics().refused == {}


async def test_all_clients_of_a_uid_share_one_limit_and_each_has_its_own(limited, path):
    await limited(
        RateLimit(per="client", messages_per_second=100, burst=1.0),
        RateLimit(per="uid", messages_per_second=150, burst=1.0),
    )
    async with (
        EventBus.connect(path, config=SOLO) as one,
        EventBus.connect(path, config=SOLO) as two,
        EventBus.connect(path, config=SOLO) as three,
    ):
        begin = time.monotonic()
        passed = []
        for bus in (one, two, three):
            for number in range(300):
                await bus.publish(process(number))
            await bus.flush()
            passed.append(300 - bus.local_statistics()["refused"])
        lasted = time.monotonic() - begin
        assert 100 <= passed[0] <= 100 * (1 + lasted) + 1
        assert sum(passed) <= 150 * (1 + lasted) + 1
        assert sum(passed) >= 150


@contextlib.asynccontextmanager
async def chatting(bus):
    """Publishes small messages on it without a pause."""

    async def chat():
        for number in itertools.count():
            await bus.publish(process(number))
            await asyncio.sleep(0)

    task = asyncio.create_task(chat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("congestion", ["drop", "block"])
async def test_a_large_message_gets_its_turn_beside_small_ones_of_the_same_uid(limited, path, congestion):
    broker = await limited(RateLimit(per="uid", bytes_per_second=100_000, burst=1.0))
    async with (
        EventBus.connect(path, config=dataclasses.replace(WAITS, congestion=congestion, publish_timeout=2)) as small,
        EventBus.connect(path, config=WAITS) as large,
        chatting(small),
    ):
        # The burst has gone, and what comes is taken at once.
        await eventually(lambda: broker.statistics().messages_published > 400)
        for _ in range(2):
            begin = time.monotonic()
            await large.publish(process(0, "x" * 50_000))
            await large.flush(timeout=20)
            assert time.monotonic() - begin <= 3, "half a second is what it takes"


@pytest.mark.parametrize("burst", [0.06, 1.0])
async def test_one_that_waits_does_not_silence_one_of_the_same_uid_that_keeps_to_its_half(limited, path, burst):
    broker = await limited(RateLimit(per="uid", messages_per_second=30, burst=burst))
    async with (
        EventBus.connect(path, config=dataclasses.replace(WAITS, publish_timeout=2)) as waiting,
        EventBus.connect(path, config=SOLO) as dropping,
        chatting(waiting),
    ):
        await eventually(lambda: broker.statistics().messages_published > 30 * burst + 5)
        for number in range(20):
            await dropping.publish(process(number))
            await asyncio.sleep(0.1)
        await dropping.flush()
        assert dropping.local_statistics()["refused"] <= 2, "a third of the rate is what it needs"


async def test_one_that_is_cut_while_it_waits_keeps_nobody_waiting(limited, path, raw):
    broker = await limited(RateLimit(per="uid", bytes_per_second=10_000, burst=3.0))
    first, cut, last = raw(path), raw(path), raw(path)
    for name, peer in {"first": first, "cut": cut, "last": last}.items():
        peer.connect(name, congestion="block")
    small = wire.process_message(2)
    large = wire.Message("events.process.new", wire.process_event(1, "x" * 29_000)).encode()
    first.send(large)
    await eventually(lambda: broker.statistics().messages_published == 1)
    cut.send(large)
    await eventually(lambda: broker.statistics().unfinished_bytes > 0)
    last.send(small, small)
    last.say("PING")
    begin = time.monotonic()
    assert broker.disconnect_client(next(client.id for client in broker.clients() if client.name == "cut"))
    assert await asyncio.to_thread(last.receive) == b"PONG"
    assert time.monotonic() - begin <= 1.5, "three seconds are what the other would have waited"
    assert broker.statistics().messages_published == 3


async def test_buses_of_the_brokers_process_are_not_limited(limited):
    broker = await limited(RateLimit(messages_per_second=1), RateLimit(per="uid", bytes_per_second=1))
    async with EventBus.from_broker(broker) as bus, bus.subscribe("events.#") as heard:
        for number in range(1000):
            await bus.publish(process(number))
        assert pids(await collect(heard, 1000)) == list(range(1000))


async def test_requests_keep_their_place_and_pass_however_fast_one_publishes(limited, path, raw):
    """The answer to PING comes behind the refusals of what was published before it."""
    await limited(RateLimit(messages_per_second=10, burst=1.0))
    peer = raw(path)
    peer.connect()
    peer.send(*[wire.process_message(n, sequence=n) for n in range(50)])
    peer.say("PING")
    refused = 0
    while (body := peer.receive()) != b"PONG":
        err = json.loads(body.removeprefix(b"ERR "))
        assert err["code"] == "rate_limit"
        assert (err["topic"], err["sequence"]) == ("events.process.new", 49)
        refused += err.get("count", 1)
    assert refused == 40


async def test_connects_above_the_rate_are_told_that_the_broker_is_busy(limited, path, raw):
    broker = await limited(RateLimit(per="uid", connects_per_second=5, burst=1.0))
    said = []
    for _ in range(20):
        peer = raw(path)
        # Whoever is refused may find that out while it writes.
        with contextlib.suppress(BrokenPipeError):
            peer.say("CONNECT", protocol=1, client="x", dialect="bincode")
        body = peer.receive()
        said.append(body.split()[0])
        if said[-1] == b"ERR":
            assert json.loads(body[4:])["code"] == "busy"
            assert peer.receive() is None
        peer.close()
    assert 5 <= said.count(b"INFO") <= 7
    assert broker.statistics().refused["connect_rate"] == said.count(b"ERR")
    # A client that may wait gets in by itself.
    async with EventBus.connect(path, config=SOLO) as bus:
        await bus.flush()


async def test_a_client_that_may_not_wait_learns_that_the_broker_is_busy(limited, path, raw):
    await limited(RateLimit(per="uid", connects_per_second=0.01, burst=1.0))
    raw(path).connect()
    with pytest.raises(ConnectTimeout) as caught:
        await EventBus.connect(path, config=ClientConfig(pool=False, connect_timeout=1.5))
    assert "rate_limit" in str(caught.value)
    assert issubclass(BrokerBusy, Exception)


@pytest.mark.usefixtures("as_root")
async def test_one_uid_cannot_use_up_the_connects_of_another(open_folder, program):
    path = str(open_folder / "b.sock")
    config = BrokerConfig(
        allowed_uids=(NOBODY,),
        socket_mode=0o660,
        socket_group=NOBODY,
        # Three, and the next in ten seconds: longer than `connect` waits.
        rate_limit=RateLimit(per="uid", connects_per_second=0.1, burst=30.0),
    )
    async with Broker(path, config=config):
        child = program("other_user_client.py", path, user=NOBODY)
        await child.answer()
        got = await asyncio.to_thread(lambda: child.ask(do="connect", count=30))
        assert 2 <= got["connected"] <= 6
        for _ in range(3):
            async with EventBus.connect(path, config=ClientConfig(pool=False)):
                pass
        child.finish()


async def test_one_uid_leaves_a_place_however_few_there_are(open_folder, program):
    path = str(open_folder / "b.sock")
    config = BrokerConfig(allowed_uids=(NOBODY,), socket_mode=0o660, socket_group=NOBODY, max_connections=3)
    async with Broker(path, config=config) as broker:
        child = program("other_user_client.py", path, user=NOBODY)
        await child.answer()
        got = await asyncio.to_thread(lambda: child.ask(do="hold", count=5))
        assert got["connected"] == 1
        assert broker.statistics().refused["busy_uid"] == 4
        async with EventBus.connect(path, config=ClientConfig(pool=False)):
            pass
        child.finish()


@pytest.mark.limit(60)
@pytest.mark.parametrize("congestion", ["drop", "block"])
async def test_others_are_undisturbed_by_one_that_floods(limited, path, congestion):
    """A flood above its limit beside a canary at 500/s: the canary loses nothing and waits for nobody."""
    broker = await limited(RateLimit(messages_per_second=2000, burst=0.5))
    stop = asyncio.Event()
    config = ClientConfig(pool=False, congestion=congestion, publish_timeout=30)

    def flood():
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        connect = b'CONNECT {"protocol":1,"client":"flood","dialect":"bincode","congestion":"%s"}' % congestion.encode()
        one = wire.process_message(1, topic="events.network.new")
        frame = wire.framed(one)
        sock.sendall(wire.framed(connect))
        sock.settimeout(0.05)
        sent = 0
        while not stop.is_set():
            try:
                sent += sock.send(frame * 256)
            except TimeoutError:
                continue
            sock.setblocking(False)
            try:
                while sock.recv(1 << 20):
                    pass
            except BlockingIOError:
                pass
            sock.settimeout(0.05)
        sock.close()
        return sent // len(frame)

    async with (
        EventBus.connect(path, config=config) as canary,
        EventBus.connect(path, config=SOLO) as reader,
        reader.subscribe("events.process.*") as heard,
    ):
        thread = asyncio.get_running_loop().run_in_executor(None, flood)
        delays = []
        begin = time.monotonic()
        for number in range(1000):
            due = begin + number * 0.002
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await canary.publish(process(number))
            got = await heard.get(timeout=5)
            assert got.event.pid == number
            delays.append(time.monotonic_ns())
        lasted = time.monotonic() - begin
        stop.set()
        sent = await thread
        assert heard.dropped == 0
    refused = broker.statistics().refused.get("rate_limit", 0)
    passed = broker.statistics().messages_published - 1000
    assert passed <= 2000 * (lasted + 0.5) + 100
    if congestion == "drop":
        assert refused > 0
        assert refused + passed <= sent + 1
    else:
        assert refused == 0
    assert lasted < 10, "the canary was held up"
    assert statistics.median(b - a for a, b in itertools.pairwise(delays)) < 20e6


async def test_what_waits_for_its_rate_is_routed_when_the_broker_stops(path, raw):
    async with Broker(path, config=BrokerConfig(rate_limit=RateLimit(messages_per_second=1, burst=1.0))) as broker:
        async with EventBus.from_broker(broker) as agent, agent.subscribe("events.#") as heard:
            peer = raw(path)
            peer.connect(congestion="block")
            peer.send(*[wire.process_message(n, sequence=n) for n in range(50)])
            await collect(heard, 1)
            await eventually(lambda: broker.statistics().messages_published == 1)
            assert await broker.shutdown() == 0
            assert pids([item async for item in heard]) == list(range(1, 50))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: RateLimit(), "no rate at all"),
        (lambda: RateLimit(messages_per_second=0), "RateLimit.messages_per_second: must be between"),
        (lambda: RateLimit(messages_per_second=float("nan")), "RateLimit.messages_per_second: must be between"),
        (lambda: RateLimit(bytes_per_second=10**400), "RateLimit.bytes_per_second: must be between"),
        (lambda: RateLimit(bytes_per_second="1M"), "RateLimit.bytes_per_second: expected a number, got str"),
        (lambda: RateLimit(messages_per_second=True), "RateLimit.messages_per_second: expected a number, got bool"),
        (lambda: RateLimit(messages_per_second=1, burst=0), "RateLimit.burst: must be between 0.05 and 3600"),
        (lambda: RateLimit(connects_per_second=1), 'RateLimit.connects_per_second: needs per="uid"'),
        (lambda: RateLimit(per="host", messages_per_second=1), "RateLimit.per: must be"),
        (lambda: RateLimit(per=[], messages_per_second=1), "RateLimit.per: expected str, got list"),
        (lambda: BrokerConfig(rate_limit=5), "BrokerConfig.rate_limit: expected RateLimit"),
        # An empty environment variable is not the wish for no limit.
        (lambda: BrokerConfig(rate_limit=""), "BrokerConfig.rate_limit: expected RateLimit, got str"),
        (lambda: BrokerConfig(rate_limit=[RateLimit(messages_per_second=1)] * 2), "two limits of the same kind"),
    ],
)
def test_limits_are_checked_where_they_are_made(make, said):
    with pytest.raises((ValueError, TypeError), match=said):
        make()


def test_one_limit_or_several_are_values():
    one = RateLimit(messages_per_second=10)
    both = (one, RateLimit(per="uid", connects_per_second=2))
    assert BrokerConfig(rate_limit=one).rate_limit == one
    assert BrokerConfig(rate_limit=list(both)).rate_limit == both
    assert hash(BrokerConfig(rate_limit=both)) == hash(BrokerConfig(rate_limit=list(both)))
