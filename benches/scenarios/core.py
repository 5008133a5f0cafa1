"""The broker alone, over real sockets: one writer and one reader of ready-made frames, nothing lost."""

from __future__ import annotations

from typing import Any

from benches.contestants import Contestant
from benches.processes import Run
from benches.scenarios import Scale, flood

TITLE = "The Rust core over real sockets, one to one, 230-byte frames in large pieces"
DEFAULT = ("core",)
REFERENCE = "core"
COLUMNS = {"rate": "messages/s", "broker_cpu_us": "broker CPU us per message", "cpu_us": "with both ends"}
PLOTTED = ("rate", "broker_cpu_us")


def run(contestant: Contestant, scale: Scale) -> dict[str, Any]:
    """One round."""
    with Run(contestant) as one:
        subscriber = one.start("subscriber", "subscribe")
        subscriber.said("ready")
        publisher = one.start("publisher", "publish")
        publisher.said("ready")
        return flood(one, [publisher], [subscriber], scale)
