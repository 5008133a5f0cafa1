"""Imports the package in a second interpreter of the process, then uses it in the first."""

import asyncio
import importlib
import os
import tempfile

from daemoneye_eventbus import Broker, EventBus, ProcessEvent

SOURCE = """
import os
try:
    import daemoneye_eventbus
except ImportError:
    os.write({pipe}, b"refused")
else:
    os.write({pipe}, b"imported")
"""


async def use() -> str:
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "bus.sock")
        async with Broker(path), EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
            await bus.publish(ProcessEvent(pid=1, name="sh"))
            return (await events.get(timeout=10)).topic


def second(source: str) -> None:
    try:
        interpreters = importlib.import_module("_interpreters")
        interpreters.exec(interpreters.create("legacy"), source)
    except ModuleNotFoundError:
        interpreters = importlib.import_module("_xxsubinterpreters")
        interpreters.run_string(interpreters.create(), source)


reading, writing = os.pipe()
second(SOURCE.format(pipe=writing))
print(os.read(reading, 100).decode(), asyncio.run(use()), sep=", ", flush=True)
