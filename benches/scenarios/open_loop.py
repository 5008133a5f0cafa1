"""10,000 messages a second from a timer, one way: the time from when each was due until its reader has it."""

from __future__ import annotations

from typing import Any

from benches.contestants import Contestant
from benches.processes import Run
from benches.scenarios import Scale, paced

TITLE = "Open loop, 10,000 messages a second, one way"
DEFAULT = ("ours", "ours+uvloop", "zenoh", "nats", "zmq", "zmq:asyncio", "redis:single", "busrt", "floor")
REFERENCE = "zenoh"
COLUMNS = {"p50": "p50 us", "p99": "p99 us", "p999": "p99.9 us", "cpu_us": "CPU us per message"}
PLOTTED = ("p50", "p99")
RATE = 10_000


def run(contestant: Contestant, scale: Scale) -> dict[str, Any]:
    """One round."""
    with Run(contestant) as one:
        listener = one.start("subscriber", "listen", latency=True)
        listener.said("ready")
        publisher = one.start("publisher", "pace", latency=True)
        publisher.said("ready")
        result: dict[str, Any] = {}
        with one.counting_cpu(result):
            result |= paced(publisher, listener, RATE, scale.open_loop_seconds)
        result["cpu_us"] = result["cpu_total"] / max(1, result["published"]) * 1e6
        return result
