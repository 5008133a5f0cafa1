"""What is published holds subclasses that ask the bus something when an overflow, a reader or the end lets go of them.

python tests/programs/destructors.py PATH. Says as JSON how often they could ask.
"""

import asyncio
import json
import sys

from daemoneye_eventbus import Broker, EventBus, ProcessEvent


async def main(path):
    asked = []
    async with Broker(path) as broker, EventBus.from_broker(broker) as bus:
        events = await bus.subscribe("events.#", "control.#", include_control=True, queue_messages=1)

        class Text(str):
            __slots__ = ()

            def __del__(self):
                asked.append(events.pending)

        class Payload(bytes):
            __slots__ = ()

            def __del__(self):
                asked.append(events.pending)

        for number in range(3):
            await bus.publish(ProcessEvent(pid=number, name="sh"), Text(f"c-{number}"))
            await bus.publish_control(Text("control.note"), Payload(b"note"), Text(f"n-{number}"))
        note = events.get_nowait()
        assert (type(note.payload), type(note.correlation_metadata.correlation_id)) == (bytes, str)
        await bus.publish_control(Text("control.note"), Payload(b"note"))
        await events.close()
        print(json.dumps({"asked": len(asked), "dropped": events.dropped}))


asyncio.run(main(*sys.argv[1:]))
