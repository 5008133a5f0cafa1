"""``python -m benches.instructions_python EVENTS``: a batch at a time through a broker of the same process."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from daemoneye_eventbus import Broker, EventBus, ProcessEvent

_BATCH = 50


async def main(count: int) -> None:
    """Publishes a batch, then reads it."""
    with tempfile.TemporaryDirectory() as folder:
        async with (
            Broker(Path(folder) / "bus.sock") as broker,
            EventBus.from_broker(broker) as bus,
            bus.subscribe("events.process.*") as events,
        ):
            for begin in range(0, count, _BATCH):
                for pid in range(begin, begin + _BATCH):
                    event = ProcessEvent(
                        pid=pid,
                        name="chrome",
                        command_line="/usr/bin/chrome --type=renderer --lang=en-US --num-raster-threads=4",
                        executable_path="/usr/bin/chrome",
                        ppid=1000,
                        metadata={"user": "alice"},
                    )
                    await bus.publish(event, "correlation-123")
                for pid in range(begin, begin + _BATCH):
                    received = await events.get()
                    assert isinstance(received.event, ProcessEvent)
                    assert received.event.pid == pid


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
