"""A broker whose process has little memory, asked by lines of JSON on stdin: low_memory_broker.py PATH [CONFIG]."""

import asyncio
import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from address_space import limit

from daemoneye_eventbus import Broker, BrokerConfig, EventBus, ProcessEvent


def say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


def whatever_there_is() -> Iterator[bytearray]:
    """In pieces, until there is none left that large."""
    with contextlib.suppress(MemoryError):
        while True:
            yield bytearray(1 << 18)


async def publish(bus: EventBus, event: ProcessEvent, count: int) -> int:
    """How many there was no memory for."""
    refused = 0
    for _ in range(count):
        try:
            await bus.publish(event)
        except MemoryError:
            refused += 1
        # What is published in one turn of the loop is written in one.
        await asyncio.sleep(0)
    return refused


async def main(path: str, config: dict) -> None:
    if "token" in config:
        config["token"] = config["token"].encode()
    async with Broker(path, config=BrokerConfig(**config)) as broker, EventBus.from_broker(broker) as bus:
        hoard: list[bytearray] = []
        heavy = ProcessEvent(pid=1, name="x" * 1_000_000)
        say(ready=True)
        # One thread, made now.
        loop, reader = asyncio.get_running_loop(), ThreadPoolExecutor(1)
        while line := await loop.run_in_executor(reader, sys.stdin.readline):
            command = json.loads(line)
            match command["do"]:
                case "limit":
                    limit(command["more"])
                    say(limited=command["more"])
                case "hoard":
                    hoard = list(whatever_there_is())
                    say(pieces=len(hoard))
                case "publish":
                    say(refused=await publish(bus, heavy, command["count"]))
                case "free":
                    hoard.clear()
                    limit(None)
                    say(**dataclasses.asdict(broker.statistics()))


asyncio.run(main(sys.argv[1], json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}))
