"""One module per question.

Each has `TITLE`; `DEFAULT`, who takes part; `REFERENCE`, whom ratios refer to; `COLUMNS`, figures and their units, the
first being the one that ratios are of; `PLOTTED`, those that are drawn; and `run(contestant, scale)`, one round.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from benches.processes import Process, Run

NAMES = (
    "one_to_one",
    "fan_out",
    "round_trip",
    "open_loop",
    "in_process",
    "core",
    "fairness",
    "memory",
    "idle",
    "growth",
)
GRACE = 60.0
"""Seconds that a subscriber may take for what was published in time."""


@dataclass(frozen=True)
class Scale:
    """How long a round is."""

    seconds: float = 3.0
    least: int = 1_000_000
    """Messages of a throughput round at least where queues are bounded: ten times what all of them hold."""
    samples: int = 5_000
    warm_up: int = 500
    open_loop_seconds: float = 60.0
    idle_seconds: float = 65.0
    settle: float = 0.5


QUICK = Scale(seconds=1.0, least=0, samples=2_000, warm_up=200, open_loop_seconds=5.0, idle_seconds=10.0, settle=0.3)


def ends(run: Run, subscribers: int) -> tuple[Process, list[Process]]:
    """A publisher and its subscribers, ready. It comes last, so that they miss nothing, unless it hosts the broker.

    Of several subscribers the first hosts it, where they do.
    """
    begun: dict[str, list[Process]] = {"publish": [], "subscribe": []}
    names = {"publish": ["publisher"], "subscribe": [f"subscriber{number}" for number in range(subscribers)]}
    host = run.contestant.host
    for role in ("publish", "subscribe") if host == "publish" else ("subscribe", "publish"):
        first, *others = names[role]
        if host == role:
            begun[role].append(run.start(first, role, hosts=True))
            begun[role][0].said("ready")
        else:
            others.insert(0, first)
        rest = [run.start(name, role) for name in others]
        for process in rest:
            process.said("ready")
        begun[role] += rest
    return begun["publish"][0], begun["subscribe"]


def flood(
    run: Run, publishers: list[Process], subscribers: list[Process], scale: Scale, *, readers: int | None = None
) -> dict[str, Any]:
    """From ready processes to the figures of one flood: rates at both ends, CPU seconds, what was lost."""
    for subscriber in subscribers:
        subscriber.said("warm")
    readers = readers or len(subscribers)
    result: dict[str, Any] = {}
    least = scale.least if run.contestant.peer == "ours" else 0
    with run.counting_cpu(result):
        for publisher in publishers:
            publisher.tell(seconds=scale.seconds, least=least // len(publishers) // readers)
        sent = [publisher.said("done", scale.seconds * 20 + GRACE) for publisher in publishers]
        seen = [subscriber.said("done", GRACE) for subscriber in subscribers]
    for process in (*publishers, *subscribers):
        process.tell()
    published = sum(one["published"] for one in sent)
    delivered = sum(one["received"] for one in seen)
    seconds = max(one["last"] for one in seen) - min(one["first"] for one in seen)
    result |= {
        "published": published,
        "delivered": delivered,
        "lost": published * readers - delivered,
        "disorder": sum(one["disorder"] for one in seen),
        "seconds": seconds,
        "rate": delivered / seconds,
        "slowest": min(one["rate"] for one in seen),
        "publish_rate": sum(one["rate"] for one in sent),
        "cpu_us": result["cpu_total"] / delivered * 1e6,
        "broker_cpu_us": result["cpu"].get("broker", 0.0) / delivered * 1e6,
    }
    if result["lost"] or result["disorder"]:
        result["void"] = f"{result['lost']} lost, {result['disorder']} out of order"
    return result


def paced(publisher: Process, listener: Process, rate: float, seconds: float, *, ahead: float = 0.5) -> dict[str, Any]:
    """From ready processes to latencies of messages sent on time, the first `ahead` seconds from now."""
    listener.said("warm")
    begin = time.perf_counter() + ahead
    for process in (publisher, listener):
        process.tell(rate=rate, seconds=seconds, begin=begin)
    sent = publisher.said("done", seconds + GRACE)
    seen = listener.said("done", GRACE)
    for process in (publisher, listener):
        process.tell()
    result = {**sent, **seen, "lost": sent["published"] - seen["received"]}
    if result["lost"] or result["disorder"]:
        result["void"] = f"{result['lost']} lost, {result['disorder']} out of order"
    return result
