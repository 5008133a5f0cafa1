"""One publisher to ten subscribers, each a process: messages delivered a second in total, nothing lost."""

from __future__ import annotations

from typing import Any

from benches.contestants import Contestant
from benches.processes import Run
from benches.scenarios import Scale, ends, flood

TITLE = "One publisher to ten subscribers, flat out, delivered in total"
DEFAULT = ("ours", "ours:many", "ours:from_agent", "zenoh", "nats", "zmq", "redis", "busrt")
REFERENCE = "zenoh"
COLUMNS = {
    "rate": "delivered/s",
    "slowest": "slowest subscriber's/s",
    "cpu_us": "CPU us per delivery",
    "broker_cpu_us": "of it the broker",
}
PLOTTED = ("rate", "cpu_us")
_SUBSCRIBERS = 10


def run(contestant: Contestant, scale: Scale) -> dict[str, Any]:
    """One round."""
    with Run(contestant, alone=contestant.host is not None) as one:
        publisher, subscribers = ends(one, _SUBSCRIBERS)
        return flood(one, [publisher], subscribers, scale)
