"""A broker and its client in one process; prints what the client was told. Arguments: a path, a configuration."""

import asyncio
import json
import sys

from daemoneye_eventbus import Broker, BrokerConfig, EventBus, PermissionRefused


async def main(path: str, config: str) -> None:
    async with Broker(path, config=BrokerConfig(**json.loads(config))):
        try:
            async with EventBus.connect(path) as bus:
                print(json.dumps({"told": bus.state}))
        except PermissionRefused as error:
            print(json.dumps({"told": str(error)}))


asyncio.run(main(*sys.argv[1:]))
