"""One process: a broker, a bus, one subscription, one event."""

import asyncio
from datetime import UTC, datetime

from daemoneye_eventbus import Broker, EventBus, ProcessEvent


async def main(path: str) -> None:
    async with (
        Broker(path) as broker,
        EventBus.from_broker(broker) as bus,
        bus.subscribe(ProcessEvent) as events,
    ):
        event = ProcessEvent(
            pid=1234,
            name="example_process",
            command_line="example_process --arg",
            executable_path="/usr/bin/example_process",
            ppid=1000,
            start_time=datetime.now(UTC),
        )
        await bus.publish(event, "correlation-123")
        async for received in events:
            print(received.topic, received.event.pid, received.correlation_id)
            break


asyncio.run(main("/tmp/daemoneye.sock"))
