"""A publisher at a rate: flood.py PATH SPEC, with SPEC: seconds or count, rate (a second; 0 = as fast as it can),
size (bytes of text in each event), sender, topic, config, patience (seconds for the last flush), wait (for a line before it
begins), hold (stay connected until stdin ends). Each event carries its number and the moment of its publish; prints how many it
published and its counters.
"""

import asyncio
import json
import sys
import time

from daemoneye_eventbus import ClientConfig, EventBus, EventBusError, PerformanceEvent


async def main(path: str, spec: dict) -> None:
    rate, size, sender = spec.get("rate", 0), spec.get("size", 0), str(spec.get("sender", 0))
    topic, count = spec.get("topic", "events.performance.flood"), spec.get("count", 1 << 60)
    metadata = {"filler": "x" * size} if size else {}
    if "token" in (config := spec.get("config", {})):
        config["token"] = config["token"].encode()
    async with EventBus.connect(path, config=ClientConfig(pool=False, **config)) as bus:
        print(json.dumps({"ready": True}), flush=True)
        if spec.get("wait"):
            await asyncio.to_thread(sys.stdin.readline)
        begin = time.monotonic()
        end = begin + spec.get("seconds", 3600)
        number, longest, errors = 0, 0.0, {}
        while number < count and (now := time.monotonic()) < end:
            due = count if not rate else min(count, int((now - begin) * rate) + 1)
            if number >= due:
                await asyncio.sleep(min(0.002, 1 / rate))
                continue
            for _ in range(min(due - number, 256)):
                before = time.monotonic()
                event = PerformanceEvent(metric_name=sender, value=before, unit=str(number), metadata=metadata)
                try:
                    await bus.publish(event, topic=topic)
                except EventBusError as error:
                    errors[type(error).__name__] = errors.get(type(error).__name__, 0) + 1
                number += 1
                longest = max(longest, time.monotonic() - before)
                if before >= end:
                    break
        took = time.monotonic() - begin
        try:
            await bus.flush(timeout=spec.get("patience", 30))
        except EventBusError as error:
            errors["flush " + type(error).__name__] = 1
        local = {key: value for key, value in bus.local_statistics().items() if isinstance(value, int)}
        print(json.dumps({"tried": number, "took": took, "longest": longest, "errors": errors, **local}), flush=True)
        if spec.get("hold"):
            await asyncio.to_thread(sys.stdin.read)


asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
