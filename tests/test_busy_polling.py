"""During a fast exchange of messages the broker polls for the next one; afterwards it sleeps again."""

import asyncio
import time

import psutil

from daemoneye_eventbus import ClientConfig, EventBus
from support import process


async def test_a_broker_rests_when_a_conversation_is_over(path, program):
    child = program("broker.py", path)
    child.line()
    broker = psutil.Process(child.pid)
    config = ClientConfig(pool=False)
    async with EventBus.connect(path, config=config) as here, EventBus.connect(path, config=config) as there:
        async with here.subscribe("events.process.pong") as pongs, there.subscribe("events.process.ping") as pings:
            for number in range(3000):
                await here.publish(process(number), topic="events.process.ping")
                ping = await pings.get(timeout=10)
                await there.publish(ping.event, topic="events.process.pong")
                assert (await pongs.get(timeout=10)).event.pid == number
            before, begun = sum(broker.cpu_times()[:2]), time.monotonic()
            await asyncio.sleep(1)
            share = (sum(broker.cpu_times()[:2]) - before) / (time.monotonic() - begun)
            assert share < 0.1, f"the broker takes {share:.0%} of a core for nobody"
