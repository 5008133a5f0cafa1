"""A subscriber that keeps an account: reader.py PATH SPEC, with SPEC: patterns, options (of subscribe), config, delay (seconds
after each event), pause (do not read before the first line on stdin).

Takes what flood.py sends. For each line on stdin prints what came since it began: per sender in order or not, missing and
double, latency in milliseconds, what the bus says was lost. An object {"expect": N, "within": S} waits for N events first.
"""

import asyncio
import json
import sys
import time

from daemoneye_eventbus import ClientConfig, EventBus, PerformanceEvent


class Account:
    def __init__(self) -> None:
        self.seen: dict[str, list[int]] = {}
        self.times: list[float] = []
        self.before = 0
        self.misplaced = 0
        self.count = 0

    def note(self, received) -> None:
        self.count += 1
        self.before += received.dropped_before
        event = received.event
        if not isinstance(event, PerformanceEvent):
            return
        self.times.append(time.monotonic() - event.value)
        numbers = self.seen.setdefault(event.metric_name, [])
        number = int(event.unit)
        if received.dropped_before != number - (numbers[-1] if numbers else -1) - 1:
            self.misplaced += 1
        numbers.append(number)

    def report(self, events) -> dict:
        ordered = sorted(self.times) or [0.0]
        at = lambda share: round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 3)  # noqa: E731
        missing = sum(max(n, default=-1) + 1 - len(set(n)) for n in self.seen.values())
        return {
            "received": self.count,
            "dropped": events.dropped,
            "dropped_before": self.before,
            "misplaced": self.misplaced,
            "gaps": events.gaps,
            "senders": sorted(self.seen),
            "in_order": all(n == sorted(n) for n in self.seen.values()),
            "twice": sum(len(n) - len(set(n)) for n in self.seen.values()),
            "missing": missing,
            "p50": at(0.5),
            "p99": at(0.99),
            "p999": at(0.999),
            "max": at(1),
        }


async def main(path: str, spec: dict) -> None:
    account = Account()
    if "token" in (config := spec.get("config", {})):
        config["token"] = config["token"].encode()
    async with EventBus.connect(path, config=ClientConfig(pool=False, **config)) as bus:
        async with bus.subscribe(
            *spec.get("patterns", ["events.performance.flood"]), **spec.get("options", {})
        ) as events:
            print(json.dumps({"ready": True}), flush=True)

            async def take() -> None:
                async for received in events:
                    account.note(received)
                    if delay := spec.get("delay"):
                        await asyncio.sleep(delay)

            if spec.get("pause"):
                await asyncio.to_thread(sys.stdin.readline)
            task = asyncio.create_task(take())
            while line := await asyncio.to_thread(sys.stdin.readline):
                wanted = json.loads(line)
                deadline = time.monotonic() + wanted.get("within", 10)
                while account.count + events.dropped < wanted.get("expect", 0) and time.monotonic() < deadline:
                    await asyncio.sleep(0.01)
                if wanted.get("clear"):
                    account.times.clear()
                print(json.dumps({**account.report(events), "state": bus.state}), flush=True)
            task.cancel()


asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
