"""Fault 40. Nobody reads, everybody writes."""

import time

import pytest
from harness import MIB, scaled, times

pytestmark = [
    pytest.mark.fault(
        40,
        "C",
        "all readers stopped, 4 publishers flat out, 5 min; then SIGCONT",
        "total under the global limit; publish blocks to a deadline or raises; full rate within 1 s after",
    ),
    pytest.mark.limit(600),
]


@pytest.mark.parametrize("congestion", ["drop", "block"])
def test_memory_is_bounded_and_it_recovers(bench, seen, congestion):
    limit = 8 * MIB
    b = bench({"total_queue_bytes": limit, "queue_bytes": 4 * MIB, "stall_timeout": 1.0})
    readers = [b.reader(options={"overflow": "block"} if congestion == "block" else {}) for _ in range(3)]
    for reader in readers:
        reader.freeze()
    seconds = scaled(3, 15, 300)
    config = {"congestion": congestion, "publish_timeout": 1.0}
    floods = [b.flood(sender=n, seconds=seconds, size=800, config=config) for n in range(times(scaled(2, 4)))]
    most, end = 0, time.monotonic() + seconds
    while time.monotonic() < end - 0.3:
        most = max(most, b.statistics()["queued_bytes"])
        time.sleep(0.2)
    grown = b.grown()
    calm = b.undisturbed(latency=False)  # whoever sends flat out takes the processor
    assert limit / 4 < most <= limit * 1.02 + MIB, most
    assert grown < 3 * limit / MIB + 16, grown
    for flood in floods:
        done = flood.json(60)
        # A publish takes its deadline at most, or the reader counts as stalled before.
        assert done["longest"] < 3, done
        assert set(done["errors"]) <= {"PublishTimeout"}, done
    for reader in readers:
        reader.thaw()
    accounts = [reader.ask(within=0.5) for reader in readers]
    assert all(account["twice"] == 0 and account["in_order"] for account in accounts)
    fresh = b.flood(sender="fresh", count=500, rate=1000)
    fresh.json(20)
    begin = time.monotonic()
    for reader in readers:
        while "fresh" not in reader.ask()["senders"]:
            assert time.monotonic() - begin < 10, "not at full rate again"
    seen(f"{congestion}: {most / MIB:.1f} of {limit // MIB} MiB queued, +{grown:.0f} MiB, fresh events "
         f"{time.monotonic() - begin:.1f} s later; {calm}")  # fmt: skip
