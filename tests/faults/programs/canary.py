"""The canary pair: canary.py PATH [CONFIG]. Publishes 100 numbered events a second on one connection, takes them on another,
and sends the same stamps through a plain socket relay of its own, so that its latency can be told from the machine's.

For each line on stdin it prints what happened since the line before.
"""

import asyncio
import json
import os
import socket
import sys
import time

from daemoneye_eventbus import ClientConfig, EventBus, PerformanceEvent

TOPIC = "events.performance.canary"
TICK = 0.01
LATE = 2.0


def relay() -> tuple[socket.socket, socket.socket]:
    """Two ends with a process between them that copies bytes: the least that any broker does."""
    source, source_far = socket.socketpair()
    sink, sink_far = socket.socketpair()
    if os.fork() == 0:
        source.close()
        sink.close()
        while data := source_far.recv(4096):
            sink_far.sendall(data)
        os._exit(0)
    source_far.close()
    sink_far.close()
    return source, sink


def summary(values: list[float]) -> dict[str, float]:
    """Milliseconds."""
    ordered = sorted(values) or [0.0]
    at = lambda share: ordered[min(len(ordered) - 1, int(len(ordered) * share))]  # noqa: E731
    return {name: round(at(share) * 1000, 3) for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1))}


class Canary:
    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.number = 0
        self.sent: dict[int, float] = {}
        self.bus_times: list[float] = []
        self.raw_times: list[float] = []
        self.twice = self.late = 0

    async def publish(self, bus: EventBus) -> None:
        due = time.monotonic()
        while True:
            due = max(due + TICK, time.monotonic() - 1)
            await asyncio.sleep(due - time.monotonic())
            self.number += 1
            now = time.monotonic()
            self.source.send(int(now * 1e9).to_bytes(8, "little"))
            self.sent[self.number] = time.monotonic()
            await bus.publish(PerformanceEvent(metric_name="canary", value=self.number, unit="n"), topic=TOPIC)

    async def take(self, events) -> None:
        async for received in events:
            begun = self.sent.pop(int(received.event.value), None)
            if begun is None:
                self.twice += 1
            else:
                self.bus_times.append(time.monotonic() - begun)

    def on_raw(self) -> None:
        now = time.monotonic()
        data = self.sink.recv(4096)
        for at in range(0, len(data) - 7, 8):
            self.raw_times.append(now - int.from_bytes(data[at : at + 8], "little") / 1e9)

    async def report(self, events) -> dict:
        """Waits for what is under way; what has not come by then is lost."""
        last = self.number
        deadline = time.monotonic() + LATE
        while any(number <= last for number in self.sent) and time.monotonic() < deadline:
            await asyncio.sleep(0.005)
        missing = [number for number in self.sent if number <= last]
        for number in missing:
            del self.sent[number]
        said = {
            "sent": last,
            "lost": len(missing),
            "twice": self.twice,
            "dropped": events.dropped,
            "gaps": events.gaps,
            "bus": summary(self.bus_times),
            "raw": summary(self.raw_times),
            "count": len(self.bus_times),
        }
        self.bus_times, self.raw_times = [], []
        return said


async def main(path: str, config: dict) -> None:
    if "token" in config:
        config["token"] = config["token"].encode()
    settings = ClientConfig(pool=False, client="canary", **config)
    canary = Canary(*relay_ends)
    loop = asyncio.get_running_loop()
    loop.add_reader(canary.sink, canary.on_raw)
    async with EventBus.connect(path, config=settings) as out, EventBus.connect(path, config=settings) as back:
        async with back.subscribe(TOPIC) as events:
            tasks = [asyncio.create_task(canary.publish(out)), asyncio.create_task(canary.take(events))]
            print(json.dumps({"ready": True}), flush=True)
            while await asyncio.to_thread(sys.stdin.readline):
                print(json.dumps(await canary.report(events)), flush=True)
            for task in tasks:
                task.cancel()


relay_ends = relay()  # before any thread
asyncio.run(main(sys.argv[1], json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}))
