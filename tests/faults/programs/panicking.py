"""A host in which the clock is refused to the extension once: panicking.py PATH THREAD FIRST LAST STEP SLOW, by the library of fault 67.

What a clock that fails makes of `Instant::now` in the standard library is a panic, wherever the bus happens to look at the time.
For each N from FIRST to LAST the N-th reading on THREAD ("loop", or the beginning of a thread's name) fails, and those before it take
SLOW microseconds, while one bus in the process and one over the socket do all that buses do; then the same is done again without a
fault. One line of JSON each, until a round has fewer readings than N; before them one with what came of brokers whose thread failed
as it began. What a panic says is read from stderr again, which has to be a file. A broker that ends is replaced at once, as a host
would do.
"""

import asyncio
import contextlib
import ctypes
import faulthandler
import gc
import json
import os
import re
import sys
import time
from dataclasses import asdict
from pathlib import Path

from daemoneye_eventbus import Broker, BrokerConfig, ClientConfig, EventBus, PerformanceEvent, ProcessEvent, RateLimit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from raw import Raw

PATH, THREAD = sys.argv[1], {"loop": b""}.get(sys.argv[2], sys.argv[2].encode())
READINGS = range(*map(int, sys.argv[3:6]))
SLOW = int(sys.argv[6])
CLOCK = ctypes.CDLL(None)
EACH = 11
WAYS = ("inside", "outside")
# The accept loop reads the clock too where connects are limited.
CONFIG = BrokerConfig(rate_limit=RateLimit(per="uid", connects_per_second=10_000))


class Witness:
    """Two peers that are nobody's fault, written without the extension; one of them is sent everything."""

    def __init__(self):
        self.reader, self.writer = Raw(PATH, 5), Raw(PATH, 5)
        self.reader.connect(client="reader")
        self.reader.subscribe(1, "events.#")
        self.writer.connect(client="writer")
        self.received = 0

    def look(self):
        """Which of the two are still served."""
        served = []
        for name, peer in (("reader", self.reader), ("writer", self.writer)):
            with contextlib.suppress(OSError, AssertionError):
                self.received += len(peer.barrier())
                served.append(name)
        return served

    def told_end(self):
        """Whether both see that the broker is gone."""
        try:
            self.reader.closed()
            self.writer.closed()
        except (OSError, AssertionError):
            return False
        else:
            return True
        finally:
            self.close()

    def close(self):
        self.reader.close()
        self.writer.close()


class Host:
    def __init__(self):
        self.told = []

    async def start(self):
        self.broker = Broker(PATH, config=CONFIG)
        await self.broker.start()
        self.witness = await asyncio.to_thread(Witness)

    async def replace(self):
        """Whenever the broker has ended."""
        while True:
            await asyncio.sleep(0.01)
            if not self.broker.running:
                ended, witness = self.broker, self.witness
                await self.start()
                self.told_end = await asyncio.to_thread(witness.told_end)
                self.ended = ended.statistics()

    async def work(self):
        """All that a bus does, both ways; what came out, and how many events came."""
        out, came = [], {}
        for way in WAYS:
            came[way] = await self.one_way(way, out)
        try:
            await asyncio.to_thread(newcomer)
            out.append("newcomer served")
        except (OSError, AssertionError) as error:
            out.append(f"newcomer {type(error).__name__}")
        return out, came

    async def one_way(self, way, out):
        got = []

        async def step(name, work):
            try:
                return await asyncio.wait_for(work, 5)
            except BaseException as error:
                out.append(f"{way} {name} {type(error).__name__}")
                return None

        async def receive(count):
            while len(got) < count:
                got.extend(await events.get_many(100, timeout=0.5))

        if way == "inside":
            bus = await step("open", EventBus.from_broker(self.broker))
        else:
            bus = await step("open", EventBus.connect(PATH, config=ClientConfig(pool=False, reconnect_max=0.2)))
        if bus is None:
            return None
        if way == "inside":
            event, pattern = ProcessEvent(1, "sh"), "events.process.*"
        else:
            event, pattern = PerformanceEvent("load", 1.0, "n"), "events.performance.*"
        events = await step("subscribe", bus.subscribe(pattern))
        if events is not None:
            for _ in range(5):
                await step("publish", bus.publish(event))
            meet(bus)
            await step("publish_many", bus.publish_many([event] * 5))
            await step("flush", bus.flush())
            await step("get", receive(EACH - 1))

            def publish_later():
                with contextlib.suppress(ConnectionError):
                    bus.publish_nowait(event)

            asyncio.get_running_loop().call_later(0.01, publish_later)
            await step("wait", receive(EACH))
            await step("statistics", bus.statistics())
            await step("flush", bus.flush())
        unconfirmed = bus.local_statistics()["unconfirmed"]
        if events is not None:
            await step("close", events.close())
        await step("shutdown", bus.shutdown())
        return len(got), unconfirmed


async def starts():
    """What came of brokers that started while the clock was refused."""
    came = []
    for reading in range(3):
        broker = Broker(f"{PATH}.start")
        CLOCK.plant(THREAD, reading, SLOW)
        try:
            await asyncio.wait_for(broker.start(), 5)
            came.append("started")
        except Exception as error:
            came.append(type(error).__name__)
        CLOCK.planted()
        await broker.shutdown()
    return came


def meet(bus):
    """Wants what the bus's own threads hold while they work on what was published, until they have done it."""
    until = time.monotonic() + 0.005
    while time.monotonic() < until:
        _ = bus.state, bus.local_statistics()


def newcomer():
    peer = Raw(PATH, 3)
    try:
        peer.connect()
    finally:
        peer.close()


async def main():
    loop = asyncio.get_running_loop()
    print(json.dumps(await starts() if THREAD == b"daemoneye-broke" else []), flush=True)
    host = Host()
    loop.set_exception_handler(lambda _, context: host.told.append(type(context.get("exception")).__name__))
    await host.start()
    replacing = asyncio.create_task(host.replace())
    for reading in READINGS:
        host.told, host.ended, host.told_end = [], None, None
        before, broker = host.broker.statistics(), host.broker
        seen, witness = host.witness.received, host.witness
        where = os.lseek(2, 0, os.SEEK_END)
        # Says where it hangs, should it.
        faulthandler.dump_traceback_later(50)
        CLOCK.plant(THREAD, reading, SLOW)
        out, came = await host.work()
        fired = CLOCK.planted()
        gc.collect()
        await asyncio.sleep(0.05)
        served = await asyncio.to_thread(host.witness.look)
        for _ in range(100):
            now = host.ended or broker.statistics()
            if now.connections == len(served) or host.ended:
                break
            await asyncio.sleep(0.01)
        said = {
            "reading": reading,
            "fired": fired,
            "frames": re.findall(r"^ +\d+: (.*)$", os.pread(2, 1 << 20, where).decode(errors="replace"), re.MULTILINE),
            "out": out,
            "came": came,
            "told": host.told,
            "ended": host.ended is not None,
            "told_end": host.told_end,
            "served": served,
            "witnessed": host.witness.received - seen if host.witness is witness else None,
            "before": asdict(before),
            "now": asdict(now),
        }
        if len(served) < 2:
            host.witness.close()
            host.witness = await asyncio.to_thread(Witness)
        said["again"] = await host.work()
        await asyncio.to_thread(host.witness.look)
        said["descriptors"] = len(os.listdir("/proc/self/fd"))
        print(json.dumps(said), flush=True)
        if not fired:
            break
    replacing.cancel()
    await host.broker.shutdown()
    print(json.dumps(None), flush=True)


asyncio.run(main())
