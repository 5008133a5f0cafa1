"""Broker, publisher and subscriber in one process and loop: what Python to Python costs without a socket."""

from __future__ import annotations

from typing import Any

from benches.contestants import Contestant
from benches.processes import Run
from benches.scenarios import GRACE, Scale

TITLE = "In process, Python to Python"
DEFAULT = ("ours", "ours:many", "ours+uvloop", "queue")
REFERENCE = "queue"
COLUMNS = {"rate": "messages/s", "cpu_us": "CPU us per message"}
PLOTTED = ("rate",)


def run(contestant: Contestant, scale: Scale) -> dict[str, Any]:
    """One round."""
    with Run(contestant, alone=True) as one:
        process = one.start("process", "local")
        process.said("ready")
        result: dict[str, Any] = {}
        with one.counting_cpu(result):
            process.tell(seconds=scale.seconds)
            result |= process.said("done", scale.seconds * 20 + GRACE)
        process.tell()
        result["cpu_us"] = result["cpu_total"] / result["received"] * 1e6
        if result["received"] != result["published"] or result["disorder"]:
            result["void"] = f"{result['published']} published, {result['received']} received"
        return result
