"""One publisher, the broker, one subscriber: typed events a second, flat out, nothing lost."""

from __future__ import annotations

from typing import Any

from benches.contestants import Contestant
from benches.processes import Run
from benches.scenarios import Scale, ends, flood

TITLE = "One publisher to one subscriber, flat out"
DEFAULT = (
    "ours",
    "ours:many",
    "ours:to_agent",
    "ours:from_agent",
    "zenoh",
    "zenoh:recv",
    "nats",
    "nats:iterator",
    "zmq",
    "zmq:asyncio",
    "redis",
    "busrt",
    "floor",
)
REFERENCE = "zenoh"
COLUMNS = {"rate": "messages/s", "cpu_us": "CPU us per message", "broker_cpu_us": "of it the broker"}
PLOTTED = ("rate", "cpu_us")


def run(contestant: Contestant, scale: Scale) -> dict[str, Any]:
    """One round."""
    with Run(contestant, alone=contestant.host is not None) as one:
        publisher, subscribers = ends(one, 1)
        return flood(one, [publisher], subscribers, scale)
