"""One to one, with one thing growing: message size, subscribers, publishers, subscriptions beside. What does an event cost then?

Connections above four share four processes; each still is a connection, a queue and a reader of its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benches.contestants import Contestant
from benches.processes import Run, RunFailed
from benches.scenarios import Scale, flood

TITLE = "Growth"
DEFAULT = ("ours",)
REFERENCE = "ours"
COLUMNS = {"worst": "largest cost over the smallest, per event or, for sizes, per event less what its bytes cost"}
AXES = {
    "size": (100, 230, 1_000, 4_000, 16_000, 65_000, 262_000, 1_000_000),
    "subscribers": (1, 2, 5, 10, 20, 50, 100, 200),
    "publishers": (1, 2, 5, 10, 20, 50, 100, 200),
    "subscriptions": (1, 10, 100, 1_000, 10_000, 100_000),
}
_PROCESSES = 4


def _shares(connections: int) -> list[int]:
    processes = min(connections, _PROCESSES)
    return [connections // processes + (number < connections % processes) for number in range(processes)]


def _point(contestant: Contestant, scale: Scale, *, size: int, subscribers: int, publishers: int, beside: int) -> Any:
    with Run(contestant, patterns=max(1024, beside + 1)) as one:
        if beside > 1:
            holder = one.start("holder", "hold", quiet=True)
            holder.said("ready")
            holder.tell(subscriptions=beside - 1)
            holder.said("done", 300)
        taking = [
            one.start(f"subscriber{number}", "subscribe", size=size, publishers=publishers, connections=share)
            for number, share in enumerate(_shares(subscribers))
        ]
        giving = [
            one.start(f"publisher{number}", "publish", size=size, connections=share)
            for number, share in enumerate(_shares(publishers))
        ]
        for process in (*taking, *giving):
            process.said("ready", 60)
        return flood(one, giving, taking, replace(scale, least=0), readers=subscribers)


def run(contestant: Contestant, scale: Scale) -> dict[str, Any]:
    """One round: every point of every axis."""
    points, costs = [], []
    usual = {"size": 230, "subscribers": 1, "publishers": 1, "beside": 1}
    for axis, values in AXES.items():
        for value in values:
            point: dict[str, Any] = {"axis": axis, "at": value}
            try:
                result = _point(contestant, scale, **{**usual, "beside" if axis == "subscriptions" else axis: value})
            except RunFailed as error:
                point["void"] = str(error)
            else:
                delivered = result["delivered"]
                point |= {key: result[key] for key in ("rate", "cpu_us", "broker_cpu_us", "lost", "disorder")}
                point["cpu"] = {name: spent / delivered * 1e6 for name, spent in result["cpu"].items()}
                if "void" in result:
                    point["void"] = result["void"]
                costs.append(point["cpu_us"])
            points.append(point)
    void = [f"{point['axis']} {point['at']}: {point['void']}" for point in points if "void" in point]
    return {"points": points, "worst": max(costs) / min(costs), **({"void": "; ".join(void)} if void else {})}
