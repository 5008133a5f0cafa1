"""A broker in its own process, asked by lines of JSON on stdin: broker.py PATH [CONFIG]."""

import asyncio

# Now, and not by the first wait for a command, when a test may have taken all descriptors away.
import concurrent.futures.thread  # noqa: F401
import json
import sys

from daemoneye_eventbus import Broker, BrokerConfig


def say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


async def main(path: str, config: dict) -> None:
    async with Broker(path, config=BrokerConfig(**config)) as broker:
        say(ready=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            command = json.loads(line)
            match command["do"]:
                case "clients":
                    say(clients=[repr(client) for client in broker.clients()])
                case "statistics":
                    say(statistics=repr(broker.statistics()))
                case "shutdown":
                    await broker.shutdown()
                    say(stopped=True)


asyncio.run(main(sys.argv[1], json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}))
