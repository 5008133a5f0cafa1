"""A small busrt program, ported: a collector that publishes and answers calls, and an agent that listens and calls it.

The original stands beside it in docs/migration-busrt.md. Broker, collector and agent are tasks of one process here; the
latter two talk over the socket, so that each could as well be a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import uuid
from pathlib import Path

from daemoneye_eventbus import (
    Broker,
    ClientConfig,
    ControlMessage,
    CorrelationFilter,
    CorrelationMetadata,
    EventBus,
    EventFilter,
    ProcessEvent,
    TriggerRequest,
)

COLLECTOR = "procmon"
REPLIES = f"control.reply.{COLLECTOR}"


async def collector(path: Path, ready: asyncio.Event) -> None:
    mine = EventFilter(metadata_filters={"target": COLLECTOR})
    async with (
        EventBus.connect(path, config=ClientConfig(client=COLLECTOR, pool=False)) as bus,
        bus.subscribe(TriggerRequest, event_filter=mine) as calls,
    ):
        ready.set()
        for pid in (1, 2, 3):
            await bus.publish(ProcessEvent(pid=pid, name="sh"), topic="events.process.start")
        async for received in calls:
            pid = json.loads(received.event.payload)["pid"]
            answer = json.dumps({"pid": pid, "open_files": 3})
            # A child of the call's correlation: the caller knows its answer by the root.
            await bus.publish_control(
                REPLIES, answer.encode(), received.correlation_metadata.create_child(str(uuid.uuid4()))
            )


async def call(bus: EventBus, target: str, payload: bytes, timeout: float) -> bytes:
    """Asks a collector and waits for its answer; ``TimeoutError`` if none comes within ``timeout`` seconds."""
    request = TriggerRequest(str(uuid.uuid4()), collector_type="process", payload=payload, metadata={"target": target})
    answers = CorrelationFilter(root_correlation_ids=[request.request_id])
    async with bus.subscribe(REPLIES, include_control=True, correlation_filter=answers) as replies:
        await bus.publish(request, CorrelationMetadata(request.request_id))
        reply = await replies.get(timeout)
    if not isinstance(reply, ControlMessage):
        raise TypeError(f"an event came as an answer: {reply.event!r}")
    return reply.payload


async def agent(path: Path) -> None:
    async with (
        EventBus.connect(path, config=ClientConfig(client="agent", pool=False)) as bus,
        bus.subscribe(ProcessEvent) as events,
        asyncio.TaskGroup() as group,
    ):
        ready = asyncio.Event()
        collecting = group.create_task(collector(path, ready))
        for _ in range(3):
            received = await events.get(timeout=5)
            print(received.topic, received.event.pid, received.event.name)
        await ready.wait()
        answer = await call(bus, COLLECTOR, json.dumps({"pid": 2}).encode(), timeout=1)
        print("scan:", answer.decode())
        collecting.cancel()


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with Broker(Path(directory) / "bus.sock") as broker:
            await agent(broker.path)


if __name__ == "__main__":
    asyncio.run(main())
