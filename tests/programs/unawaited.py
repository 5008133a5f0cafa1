"""Gives up calls unawaited because the next argument raises, and prints what each said. Argument: a socket path."""

import asyncio
import json
import sys
import warnings
from typing import TYPE_CHECKING, Never

from daemoneye_eventbus import Broker, EventBus, ProcessEvent

if TYPE_CHECKING:
    from collections.abc import Callable


class Mine(Exception):
    pass


def wrong() -> Never:
    raise Mine


async def main(path: str) -> None:
    said: dict[str, list[str]] = {}
    async with Broker(path), EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
        calls: dict[str, Callable[[], object]] = {
            "publish": lambda: bus.publish(ProcessEvent(pid=1, name="sh")),
            "publish_control": lambda: bus.publish_control("control.x", b""),
            "publish_many": lambda: bus.publish_many([]),
            "get": events.get,
            "get_many": lambda: events.get_many(1),
            "__anext__": lambda: aiter(events).__anext__(),
            "flush": bus.flush,
            "subscribe": lambda: bus.subscribe("events.#"),
        }
        for name, call in calls.items():
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    print(call(), call(), wrong())
                except Mine as error:
                    said[name] = [type(error).__name__, *(str(warning.message).split(" ")[-1] for warning in caught)]
        await bus.publish(ProcessEvent(pid=2, name="sh"))
        said["after"] = [str((await events.get(5)).event.pid)]
    print(json.dumps(said))


asyncio.run(main(sys.argv[1]))
