"""A broker with 100 clients that say nothing: its share of a core."""

from __future__ import annotations

import time
from typing import Any

from benches.contestants import Contestant
from benches.processes import Run
from benches.scenarios import Scale

TITLE = "An idle broker with 100 idle clients"
DEFAULT = ("ours", "zenoh", "nats", "redis", "busrt")
REFERENCE = "zenoh"
COLUMNS = {"share": "% of a core"}
PLOTTED = ("share",)
_CONNECTIONS = 100


def run(contestant: Contestant, scale: Scale) -> dict[str, Any]:
    """One round. The whole is longer than the interval of pings, so that they are in it."""
    with Run(contestant) as one:
        idle = one.start("idle", "idle", connections=_CONNECTIONS, receives=True, quiet=True)
        idle.said("ready", 120)
        time.sleep(scale.settle * 2)
        before = one.broker.cpu()
        time.sleep(scale.idle_seconds)
        return {"share": (one.broker.cpu() - before) / scale.idle_seconds * 100}
