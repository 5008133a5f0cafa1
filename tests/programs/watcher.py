"""What a broker tells the user who runs this: watcher.py PATH."""

import asyncio
import json
import sys

from daemoneye_eventbus import EventBus, EventBusError


async def main() -> None:
    said: dict[str, object] = {}
    async with EventBus.connect(sys.argv[1]) as bus:
        said["statistics"] = (await bus.statistics()).messages_published
        for name in ("broker_statistics", "clients"):
            try:
                await getattr(bus, name)()
            except EventBusError as error:
                said[name] = (type(error).__name__, getattr(error, "uid", None), str(error))
    print(json.dumps(said), flush=True)


asyncio.run(main())
