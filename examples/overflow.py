"""A subscriber that is slower than its publisher, once with each policy: what is lost is counted, to the last event."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Literal

from daemoneye_eventbus import Broker, ClientConfig, EventBus, ProcessEvent

PUBLISHED = 1_000
QUEUE = 50


async def run(broker: Broker, overflow: Literal["drop_oldest", "drop_newest", "block"]) -> None:
    # Nothing is lost only where both ends ask for it: a publisher that waits and a subscriber that makes it wait.
    config = ClientConfig(congestion="block" if overflow == "block" else "drop")
    async with (
        EventBus.from_broker(broker, config=config) as bus,
        bus.subscribe(ProcessEvent, queue_messages=QUEUE, overflow=overflow) as events,
    ):

        async def publish() -> None:
            for pid in range(PUBLISHED):
                await bus.publish(ProcessEvent(pid=pid, name="burst"))

        publisher = asyncio.create_task(publish())
        read = lost = 0
        while read + events.dropped < PUBLISHED:
            received = await events.get(timeout=10)
            read += 1
            if received.dropped_before:
                lost += received.dropped_before
                if lost == received.dropped_before:
                    print(f"  first gap: {lost} lost right before pid {received.event.pid}")
            await asyncio.sleep(0.001)
        await publisher
        print(f"{overflow}: published {PUBLISHED} = read {read} + dropped {events.dropped}")


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with Broker(Path(directory) / "overflow.sock") as broker:
            await run(broker, "drop_oldest")
            await run(broker, "drop_newest")
            await run(broker, "block")


if __name__ == "__main__":
    asyncio.run(main())
