"""What the broker's memory grows by: 10,000 subscriptions of one connection; 200 idle connections."""

from __future__ import annotations

import time
from typing import Any

from benches.contestants import Contestant
from benches.processes import Run, resident_bytes
from benches.scenarios import Scale

TITLE = "Memory of the broker, as a difference"
DEFAULT = ("ours", "zenoh", "nats", "redis")
REFERENCE = "zenoh"
COLUMNS = {
    "subscriptions_mib": "MiB for 10,000 subscriptions",
    "connection_kib": "KiB per idle connection",
    "rest_mib": "MiB at rest",
}
PLOTTED = ("subscriptions_mib", "connection_kib")
_SUBSCRIPTIONS = 10_000
_CONNECTIONS = 200


def run(contestant: Contestant, scale: Scale) -> dict[str, Any]:
    """One round: each question asks a broker of its own."""
    with Run(contestant, patterns=_SUBSCRIPTIONS + 1) as one:
        holder = one.start("holder", "hold", receives=True, quiet=True)
        holder.said("ready")
        time.sleep(scale.settle)
        rest = resident_bytes(one.broker.pid)
        holder.tell(subscriptions=_SUBSCRIPTIONS)
        holder.said("done", 120)
        time.sleep(scale.settle * 2)
        subscriptions = resident_bytes(one.broker.pid) - rest
    with Run(contestant) as one:
        time.sleep(scale.settle)
        before = resident_bytes(one.broker.pid)
        idle = one.start("idle", "idle", connections=_CONNECTIONS, subscribed=False)
        idle.said("ready", 120)
        time.sleep(scale.settle * 2)
        connections = resident_bytes(one.broker.pid) - before
    return {
        "rest_mib": rest / 2**20,
        "subscriptions_mib": subscriptions / 2**20,
        "connection_kib": connections / _CONNECTIONS / 1024,
    }
