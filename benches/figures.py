"""From samples to figures."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any


def percentiles(nanoseconds: list[int]) -> dict[str, float]:
    """In microseconds."""
    if not nanoseconds:
        return {"samples": 0}
    ordered = sorted(nanoseconds)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1000

    return {
        "samples": len(ordered),
        "p50": at(0.5),
        "p99": at(0.99),
        "p999": at(0.999),
        "max": ordered[-1] / 1000,
        "mean": statistics.fmean(ordered) / 1000,
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def ratios(values: Sequence[float | None], others: Sequence[float | None]) -> dict[str, float] | None:
    """Of rounds that both ran: each round's own ratio, for a machine that drifts."""
    both = [a / b for a, b in zip(values, others, strict=True) if a is not None and b]
    return spread(both) if both else None


def column(rounds: Sequence[dict[str, Any]], key: str) -> list[float | None]:
    """One figure of all rounds, None where a round is void."""
    return [None if one.get("void") else one.get(key) for one in rounds]
