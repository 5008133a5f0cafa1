"""One to one, with one thing growing: message size, subscribers, publishers, or subscriptions beside.

Connections above four share four processes; each still is a connection, a queue and a reader of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from benches.contestants import Contestant
from benches.processes import Run, RunFailed
from benches.scenarios import Scale, flood

TITLE = "Growth"
DEFAULT = ("ours",)
REFERENCE = "ours"
COLUMNS = {"points": "points"}
PLOTTED = ()
AXES = {
    "size": (100, 230, 1_000, 4_000, 16_000, 65_000, 262_000, 1_000_000),
    "subscribers": (1, 2, 5, 10, 20, 50, 100, 200),
    "publishers": (1, 2, 5, 10, 20, 50, 100, 200),
    "subscriptions": (1, 10, 100, 1_000, 10_000, 100_000),
}
_PROCESSES = 4
_HELD = 10_000
"""Subscriptions of one connection that only holds some."""


def _shares(connections: int) -> list[int]:
    processes = min(connections, _PROCESSES)
    return [connections // processes + (number < connections % processes) for number in range(processes)]


def _point(contestant: Contestant, scale: Scale, *, size: int, subscribers: int, publishers: int, beside: int) -> Any:
    with Run(contestant, patterns=max(1024, beside + 1)) as one:
        if beside > 1:
            holder = one.start("holder", "hold", quiet=True, connections=-(-beside // _HELD))
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


def table(rounds: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """One row per point, medians of all rounds."""
    head = ["", "", "delivered/s", "CPU us per event", "publisher", "broker", "subscriber"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    points: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for point in (point for of in rounds.values() for one in of for point in one.get("points", ())):
        points.setdefault((point["axis"], point["at"]), []).append(point)
    for (axis, at), found in points.items():
        good = [point for point in found if "void" not in point]
        if not good:
            rows.append([axis, f"{at:,}", "void", *[""] * (len(head) - 3)])
            continue
        costs = [
            median(point["cpu"].get(part, 0.0) for point in good) for part in ("publisher", "broker", "subscriber")
        ]
        rate, cost = (median(point[key] for point in good) for key in ("rate", "cpu_us"))
        rows.append([axis, f"{at:,}", f"{rate:,.0f}", f"{cost:.2f}", *(f"{part:.2f}" for part in costs)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def run(contestant: Contestant, scale: Scale) -> dict[str, Any]:
    """One round: every point of every axis."""
    points = []
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
            points.append(point)
    void = [f"{point['axis']} {point['at']}: {point['void']}" for point in points if "void" in point]
    return {"points": points, **({"void": "; ".join(void)} if void else {})}
