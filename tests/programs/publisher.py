"""Publishes COUNT process events with pid 0, 1, ...: publisher.py PATH COUNT [SPEC].

SPEC: config (ClientConfig), topics (taken in turn, by number), offset, fields (of each event), wait (for a line).
"""

import asyncio
import json
import sys

from daemoneye_eventbus import ClientConfig, EventBus, ProcessEvent


async def main(path: str, count: int, spec: dict) -> None:
    topics = spec.get("topics", ["events.process.new"])
    offset = spec.get("offset", 0)
    fields = spec.get("fields", {})
    async with EventBus.connect(path, config=ClientConfig(**spec.get("config", {}))) as bus:
        print(json.dumps({"ready": True}), flush=True)
        if spec.get("wait"):
            await asyncio.to_thread(sys.stdin.readline)
        for number in range(count):
            event = ProcessEvent(pid=offset + number, name="sh", **fields)
            await bus.publish(event, "c-1", topic=topics[number % len(topics)])
        await bus.flush(timeout=60)
        local = bus.local_statistics()
        print(json.dumps({"published": local["published"]}), flush=True)


asyncio.run(main(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}))
