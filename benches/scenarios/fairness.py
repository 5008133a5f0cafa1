"""A publisher of 1,000 messages a second beside one that publishes flat out, each with a reader of its own."""

from __future__ import annotations

from typing import Any

from benches.contestants import Contestant
from benches.processes import Run
from benches.scenarios import GRACE, Scale, paced

TITLE = "1,000 messages a second beside a publisher that is flat out, one way"
DEFAULT = ("ours", "zenoh", "nats", "zmq")
REFERENCE = "zenoh"
COLUMNS = {"p50": "p50 us", "p99": "p99 us", "p999": "p99.9 us", "beside": "flat-out messages/s"}
PLOTTED = ("p50", "p99")
_RATE = 1_000
_LOUD = "events.process.loud"


def run(contestant: Contestant, scale: Scale) -> dict[str, Any]:
    """One round: the flood starts first and ends last."""
    seconds = max(3.0, scale.seconds)
    with Run(contestant) as one:
        taker = one.start("taker", "subscribe", topic=_LOUD)
        taker.said("ready")
        flooder = one.start("flooder", "publish", topic=_LOUD)
        flooder.said("ready")
        listener = one.start("subscriber", "listen", latency=True)
        listener.said("ready")
        publisher = one.start("publisher", "pace", latency=True)
        publisher.said("ready")
        taker.said("warm")
        flooder.tell(seconds=seconds + 1.5, least=0)
        result = paced(publisher, listener, _RATE, seconds)
        flooder.said("done", seconds * 20 + GRACE)
        result["beside"] = taker.said("done", GRACE)["rate"]
        return result
