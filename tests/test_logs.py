"""The log: Rust's lines come out of Python's loggers, escaped, one per second and reason, and never block."""

import asyncio
import itertools
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from daemoneye_eventbus import Broker, BrokerConfig, ClientConfig, EventBus, ProcessEvent, Rule, _logs
from raw import framed
from support import eventually, process

ROOT = "daemoneye_eventbus"
SOLO = ClientConfig(pool=False, connect_timeout=3.0)


class Records(logging.Handler):
    def __init__(self):
        super().__init__()
        self.all = []

    def emit(self, record):
        record.text = self.format(record)
        self.all.append(record)

    def of(self, reason):
        return [record for record in self.all if getattr(record, "reason", None) == reason]


@pytest.fixture
def records():
    logger = logging.getLogger(ROOT)
    before, handler = logger.level, Records()
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)


def connect_and_send(path, data):
    """One connection that is refused for what it sends."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(path)
        try:
            sock.sendall(data)
            while sock.recv(65536):
                pass
        except ConnectionError:
            pass


async def test_a_broker_says_what_it_does(path, records):
    async with Broker(path):
        await eventually(lambda: records.all)
    (first,) = [record for record in records.all if "listening" in record.message]
    assert (first.name, first.levelno, first.path) == ("daemoneye_eventbus.broker", logging.INFO, path)
    assert first.message == f"listening path={path}"
    assert abs(first.created - time.time()) < 5
    await eventually(lambda: [record for record in records.all if record.message == "stopped"])


async def test_a_refusal_has_its_facts_in_the_record_and_in_the_text(path, records):
    async with Broker(path):
        await asyncio.to_thread(connect_and_send, path, framed(b"HELLO"))
        await eventually(lambda: records.of("protocol"))
    (record,) = records.of("protocol")
    assert record.levelno == logging.WARNING
    assert (record.uid, record.pid, record.suppressed) == (os.geteuid(), os.getpid(), 0)
    assert f"reason=protocol uid={os.geteuid()} pid={os.getpid()}" in record.text
    assert "suppressed" not in record.text, "said only where lines are missing"


@pytest.mark.limit(90)
async def test_a_flood_of_refusals_is_a_line_a_second_and_a_number(path, records):
    flood = 10_000
    async with Broker(path) as broker:
        refused = lambda: broker.statistics().refused.get("protocol", 0)  # noqa: E731

        def attack():
            # No answer is waited for, but no more are open than have a place.
            for number in range(flood):
                sock = socket.socket(socket.AF_UNIX)
                sock.connect(path)
                sock.sendall(framed(b"HELLO"))
                if number % 64 == 63:
                    while sock.recv(65536):
                        pass
                sock.close()

        begin = time.monotonic()
        await asyncio.to_thread(attack)
        total = lambda: sum(broker.statistics().refused.values())  # noqa: E731
        await eventually(lambda: total() >= flood, what="refusals counted")
        lasted = time.monotonic() - begin
        reasons = dict(broker.statistics().refused)
        # A client that was gone before its first frame was read is counted only.
        reasons.pop("handshake_incomplete", None)

        def told(reason):
            of_it = records.of(reason)
            lines = [record for record in of_it if not record.message.startswith("more of the same")]
            return len(lines) + sum(record.suppressed for record in of_it)

        await eventually(
            lambda: all(told(reason) == count for reason, count in reasons.items()),
            what="every refusal is a line or in a number",
        )
        assert refused() > flood / 2
    assert 1 <= len(records.of("protocol")) <= lasted + 3
    times = [record.created for record in records.of("protocol")]
    assert all(b - a > 0.99 for a, b in itertools.pairwise(times))


async def test_a_broker_that_stops_tells_at_once_what_the_log_left_out(path, records):
    async with Broker(path) as broker:
        for _ in range(7):
            await asyncio.to_thread(connect_and_send, path, framed(b"HELLO"))
        await eventually(lambda: broker.statistics().refused.get("protocol") == 7)
    await eventually(lambda: [record for record in records.all if record.message == "stopped"])
    lines = records.of("protocol")
    assert (
        len([record for record in lines if not record.message.startswith("more of the same")])
        + sum(record.suppressed for record in lines)
        == 7
    )


@pytest.mark.parametrize("ends", [False, True], ids=["a second later", "at its end"])
async def test_a_client_tells_what_its_log_left_out(path, records, ends):
    config = BrokerConfig(rules=[Rule(publish=["events.process.stop"], allow=False)])
    mine = lambda: [r for r in records.of("rights") if r.name == f"{ROOT}.client"]  # noqa: E731
    # One told, whose second has not passed; those that come after it are left out.
    told = lambda: sum(getattr(r, "messages", 0) for r in mine()) and len(mine()) > 1  # noqa: E731
    async with Broker(path, config=config):
        bus = await EventBus.connect(path, config=SOLO)
        for pid in range(5):
            await bus.publish(process(pid), topic="events.process.stop")
            await bus.flush()
        if ends:
            assert bus.local_statistics()["refused"] == 5
            await bus.shutdown()
        await eventually(told, what="a second line")
        await bus.shutdown()
    first, *others = mine()
    assert first.messages == 1
    assert sum(record.suppressed for record in others) == 4


async def test_text_of_a_peer_is_escaped_and_cut(path, records):
    name = "evil\x1b[31m\n2026 ERROR forged \u202e\\ end " + "x" * 200
    connect = f'{{"protocol":1,"client":{json.dumps(name)},"dialect":"bincode"}}'
    async with Broker(path):
        await asyncio.to_thread(connect_and_send, path, framed(b"CONNECT " + connect.encode(), b"CONNECT {}"))
        await eventually(lambda: records.of("protocol"))
    (record,) = records.of("protocol")
    assert record.client.startswith(r"evil\x1b[31m\x0a2026 ERROR forged \u202e\\ end xxx")
    assert len(record.text) < 1200
    for text in (record.client, record.text):
        assert text.isprintable()
    await_long = "y" * 256
    async with Broker(path + "2"):
        data = framed(b'CONNECT {"protocol":1,"client":"%s","dialect":"bincode"}' % await_long.encode())
        await asyncio.to_thread(connect_and_send, path + "2", data + framed(b'SUB {"id":"' + b"z" * 5000 + b'"}'))
        await eventually(lambda: len(records.of("protocol")) == 2)
    assert len(records.of("protocol")[1].text) < 1200


async def test_what_nobody_wants_is_not_made(path, records):
    logger = logging.getLogger(ROOT)
    logger.setLevel(logging.ERROR)
    async with Broker(path) as broker:
        await asyncio.to_thread(connect_and_send, path, framed(b"HELLO"))
        await eventually(lambda: broker.statistics().refused)
        await asyncio.sleep(0.1)
        assert records.all == []
        logger.setLevel(logging.WARNING)
        async with EventBus.connect(path, config=SOLO):
            # A new bus looks at the level; the second of the reason must be over.
            await asyncio.sleep(1.1)
            await asyncio.to_thread(connect_and_send, path, framed(b"HELLO"))
            await eventually(lambda: records.of("protocol"))
        assert {record.levelno for record in records.all} == {logging.WARNING}


async def test_a_child_logger_alone_can_be_turned_up(path, records):
    logging.getLogger(ROOT).setLevel(logging.ERROR)
    logging.getLogger(f"{ROOT}.broker").setLevel(logging.INFO)
    try:
        async with Broker(path), EventBus.connect(path, config=SOLO):
            await eventually(lambda: records.all)
            await asyncio.sleep(0.05)
        assert {record.name for record in records.all} == {f"{ROOT}.broker"}
    finally:
        logging.getLogger(f"{ROOT}.broker").setLevel(logging.NOTSET)


async def test_the_transport_logger_alone_can_be_turned_up(path, records):
    logging.getLogger(ROOT).setLevel(logging.ERROR)
    logging.getLogger(f"{ROOT}.transport").setLevel(logging.WARNING)
    try:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(path)
        async with Broker(path):
            await eventually(lambda: records.all)
        assert [record.name for record in records.all] == [f"{ROOT}.transport"]
        assert "removed a stale socket" in records.all[0].message
    finally:
        logging.getLogger(f"{ROOT}.transport").setLevel(logging.NOTSET)


async def test_the_client_says_what_was_refused_and_that_it_lost_its_broker(path, records):
    config = BrokerConfig(rules=[Rule(publish=["events.process.stop"], allow=False)])
    async with Broker(path, config=config) as broker:
        bus = await EventBus.connect(path, config=SOLO)
        await bus.publish(process(1), topic="events.process.stop")
        await bus.flush()
        mine = lambda: [r for r in records.of("rights") if r.name == f"{ROOT}.client"]  # noqa: E731
        await eventually(mine)
        assert (mine()[0].topic, mine()[0].messages) == ("events.process.stop", 1)
        await broker.shutdown()
        await eventually(lambda: records.of("connection_lost"))
        await bus.shutdown()


def test_several_loops_one_of_them_closed(path, records, run):
    """What is logged while no loop runs, or in a loop that is gone, comes out of the next."""

    async def first():
        broker = Broker(path)
        await broker.start()
        return broker

    broker = run(first())
    connect_and_send(path, framed(b"HELLO"))
    deadline = time.monotonic() + 5
    while not broker.statistics().refused:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.05)
    assert not records.of("protocol"), "no loop has run since"

    async def second():
        async with EventBus.connect(path, config=SOLO):
            await eventually(lambda: records.of("protocol"))
        await broker.shutdown()

    run(second())
    assert len(records.of("protocol")) == 1


def test_two_loops_at_once_make_one_record_of_each_line(path, records):
    """Both loops are woken, and one takes the line. Broker and client run in different threads."""
    up, done = threading.Event(), threading.Event()

    async def other():
        async with EventBus.connect(path, config=SOLO):
            up.set()
            await asyncio.to_thread(done.wait, 20)

    async def main():
        async with Broker(path):
            thread = threading.Thread(target=asyncio.run, args=(other(),))
            thread.start()
            await asyncio.to_thread(up.wait, 10)
            for _ in range(3):
                await asyncio.to_thread(connect_and_send, path, framed(b"HELLO"))
                await asyncio.sleep(1.1)
            done.set()
            await asyncio.to_thread(thread.join, 10)

    asyncio.run(main())
    lines = [record for record in records.of("protocol") if record.message.startswith("connection refused")]
    assert len(lines) == 3
    assert len([record for record in records.all if "listening" in record.message]) == 1
    assert len([record for record in records.all if record.message.startswith("connected")]) == 1


def test_a_ring_that_nobody_empties_is_bounded_and_says_so(path, records):
    """Each broker says that it listens and that it stopped; their loops end before they look."""

    async def one(number):
        broker = Broker(f"{path}-{number % 8}")
        await broker.start()
        return broker

    async def main():
        for number in range(600):
            broker = await one(number)
            await broker.shutdown()

    emit, _logs.emit = _logs.emit, lambda: None
    try:
        asyncio.run(main())
    finally:
        _logs.emit = emit
    _logs.emit()
    taken = [record for record in records.all if record.message == "stopped" or "listening" in record.message]
    (lost,) = [record for record in records.all if "were lost" in record.message]
    assert len(taken) <= 1024
    assert len(taken) + lost.lost >= 1200


EXIT = """
import asyncio, logging, socket, struct, sys
logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s", stream=sys.stdout)
from daemoneye_eventbus import Broker
broker = Broker(sys.argv[1])
async def main():
    await broker.start()
    if sys.argv[2] == "raise":
        raise SystemExit(3)
asyncio.run(main())
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
sock.sendall(struct.pack("<I", 5) + b"HELLO")
while sock.recv(4096):
    pass
"""


@pytest.mark.parametrize("how", ["end", "raise"])
def test_at_the_end_of_the_interpreter_the_rest_comes_out(path, how):
    done = subprocess.run(
        [sys.executable, "-c", EXIT, path, how], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == (3 if how == "raise" else 0)
    assert done.stderr == ""
    assert "daemoneye_eventbus.broker listening" in done.stdout
    assert "daemoneye_eventbus.broker stopped" in done.stdout
    if how == "end":
        assert "daemoneye_eventbus.broker connection refused" in done.stdout


QUIET = """
import asyncio, sys
from daemoneye_eventbus import Broker, EventBus
async def main():
    async with Broker(sys.argv[1]), EventBus.connect(sys.argv[1]) as bus:
        reader, writer = await asyncio.open_unix_connection(sys.argv[1])
        writer.write(b"\\x05\\0\\0\\0HELLO")
        await reader.read()
        writer.close()
asyncio.run(main())
"""


def test_without_configuration_nothing_is_printed(path):
    done = subprocess.run([sys.executable, "-c", QUIET, path], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


FORK = """
import asyncio, logging, os, sys
logging.basicConfig(level=logging.INFO, format="%(process)d %(name)s %(message)s", stream=sys.stdout)
from daemoneye_eventbus import Broker
async def main(path):
    async with Broker(path):
        await asyncio.sleep(0.05)
asyncio.run(main(sys.argv[1]))
sys.stdout.flush()
child = os.fork()
if not child:
    asyncio.run(main(sys.argv[1] + "-child"))
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
print("child", child)
"""


def test_a_forked_child_logs_for_itself(path):
    done = subprocess.run([sys.executable, "-c", FORK, path], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    child = done.stdout.split("child ")[-1].strip()
    assert f"{child} daemoneye_eventbus.broker listening path={path}-child" in done.stdout
    assert done.stdout.count("listening") == 2


async def test_no_secret_is_ever_logged(path, records, raw):
    token = b"correct-horse-battery-staple-token"
    async with Broker(path, config=BrokerConfig(token={"agent": token})) as broker:
        async with EventBus.connect(path, config=ClientConfig(token=token, pool=False)) as bus:
            await bus.publish(ProcessEvent(pid=1, name="sh"))
            await bus.flush()
        peer = raw(path)
        peer.connect(nonce="11" * 32)
        peer.say("AUTH", proof="00" * 32)
        assert peer.closed()["code"] == "authentication_failed"
        await eventually(lambda: records.of("authentication_failed"))
        said = repr(broker) + repr(broker.statistics()) + repr(broker.clients())
    said += "".join(record.text + repr(vars(record)) for record in records.all)
    assert token.decode() not in said
    assert token.hex() not in said


async def test_subscriptions_that_a_new_broker_does_not_take_are_all_told(path, records):
    mine = lambda: records.of("subscription_ended")  # noqa: E731
    async with Broker(path):
        bus = await EventBus.connect(path, config=ClientConfig(reconnect_initial=0.02, reconnect_max=0.1, pool=False))
        held = [await bus.subscribe("events.#", f"events.+.n{number}") for number in range(5)]
    async with Broker(path, config=BrokerConfig(max_patterns_per_client=1)):
        await eventually(lambda: sum(record.suppressed for record in mine()) == 4, what="the rest")
        await bus.shutdown()
    assert len(mine()) == 2
    assert len(held) == 1 + mine()[-1].suppressed


async def test_what_the_hosts_records_have_already_stays(path, records):
    """As where a factory of records gives each the pid of its process; each of our lines was an error then."""
    made = logging.getLogRecordFactory()

    def factory(*given, **named):
        record = made(*given, **named)
        record.pid, record.path = "the host's", "too"
        return record

    logging.setLogRecordFactory(factory)
    try:
        async with Broker(path):
            await asyncio.to_thread(connect_and_send, path, framed(b"HELLO"))
            await eventually(lambda: records.of("protocol"))
    finally:
        logging.setLogRecordFactory(made)
    (refused,) = records.of("protocol")
    assert (refused.pid, refused.uid) == ("the host's", os.geteuid())
    assert f"pid={os.getpid()}" in refused.message


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("%", "%(module)s %(process)d %(thread)d %(funcName)-8s %(lineno)d %(threadName)-8s %(relativeCreated)d|"),
        ("{", "{module} {process:d} {thread:d} {funcName:<8} {lineno:d} {threadName:<8} {relativeCreated:.0f}|"),
    ],
)
async def test_a_line_has_what_formats_ask_for(path, records, style, text):
    """Each line was an error of the handler, with formats such as the verbose one that Django's documentation shows."""
    records.setFormatter(logging.Formatter(text, style=style))
    async with Broker(path):
        await eventually(lambda: records.all)
    assert records.all[0].text.startswith(f"(rust) {os.getpid()} 0 (rust)   0 (rust)   ")


async def test_a_filter_that_raises_costs_its_own_line(path, records):
    """All lines that had come together with it were lost."""
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(repr(context["exception"])))

    def raises(record):
        if "reason=protocol" in record.getMessage():
            raise LookupError("of the host")
        return True

    records.addFilter(raises)
    async with Broker(path):
        # In one turn of the loop, which takes both lines at once.
        connect_and_send(path, framed(b"HELLO"))
        connect_and_send(path, framed(b"\x10 of no dialect"))
        await eventually(lambda: records.of("decode"))
    assert told == ["LookupError('of the host')"]
    assert not records.of("protocol")
