"""A message through the broker to an echo process and back, one in flight."""

from __future__ import annotations

import time
from typing import Any

from benches.contestants import Contestant
from benches.processes import Run
from benches.scenarios import Scale

TITLE = "Round trip, one in flight"
DEFAULT = ("ours", "ours+uvloop", "floor", "zenoh", "nats", "zmq", "zmq:asyncio", "redis", "busrt")
REFERENCE = "floor"
COLUMNS = {"p50": "p50 us", "p99": "p99 us", "p999": "p99.9 us", "cpu_us": "CPU us per round trip"}
PLOTTED = ("p50", "p99")


def run(contestant: Contestant, scale: Scale) -> dict[str, Any]:
    """One round."""
    with Run(contestant) as one:
        echo = one.start("echo", "echo", latency=True)
        echo.said("ready")
        ping = one.start("ping", "ping", latency=True, receives=True)
        ping.said("ready")
        time.sleep(scale.settle)
        result: dict[str, Any] = {}
        with one.counting_cpu(result):
            ping.tell(samples=scale.samples, warm_up=scale.warm_up)
            result |= ping.said("done", 120)
            echo.said("done")
        for process in (ping, echo):
            process.tell()
        result["cpu_us"] = result["cpu_total"] / (scale.samples + scale.warm_up) * 1e6
        return result
