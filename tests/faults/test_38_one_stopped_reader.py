"""Fault 38. A debugger stops one of ten."""

import time

import pytest
from harness import MIB, RATIO, TIMES, scaled, times

pytestmark = [
    pytest.mark.fault(
        38,
        "C",
        "10 subscribers, one SIGSTOPped; 10,000 msg/s x 1 KiB for 60 s",
        "nine lose 0, p99 under 5 ms; the tenth's queue at its limit, drops exactly counted, told on SIGCONT; RSS base + limit",
    ),
    pytest.mark.limit(240),
]


def test_nine_do_not_notice(bench, seen):
    limit = 2 * MIB
    b = bench({"queue_bytes": limit})
    count_of_readers = max(2, times(scaled(3, 10)))
    # As many deliveries a second for more readers.
    rate, seconds, size = scaled(1500, 3000, 10_000) / max(1, TIMES), scaled(5, 20, 60), 1000
    readers = [b.reader() for _ in range(count_of_readers)]
    stopped, others = readers[0], readers[1:]
    flood = b.flood(rate=rate, seconds=seconds, size=size, wait=True)
    base = b.reading().rss
    stopped.freeze()
    flood.tell(go=True)
    time.sleep(seconds * 0.8)
    queued = max(client["queued_bytes"] for client in b.clients())
    grown = (b.reading().rss - base) / MIB
    assert limit * 0.8 < queued <= limit * 1.01, queued
    assert grown < limit / MIB + 8 + 1 * count_of_readers, grown
    done = flood.json(60)
    total = done["published"]
    calm = b.undisturbed()
    worst = 0.0
    for reader in others:
        got = reader.ask(expect=total, timeout=30)
        assert (got["received"], got["dropped"], got["in_order"]) == (total, 0, True), got
        worst = max(worst, got["p99"])
    assert worst < max(5, RATIO * b.relay_p99), worst
    lost = sum(sum(client["dropped"].values()) for client in b.clients())
    stopped.thaw()
    got = stopped.ask(timeout=60, expect=total, within=40)
    assert got["received"] + got["dropped"] == total, got
    assert got["dropped"] >= lost > 0, (got, lost)
    assert got["dropped_before"] == got["dropped"], got
    assert got["misplaced"] == 0, got
    seen(f"{total} to {count_of_readers}: others lost 0, p99 {worst:.1f} ms; queue {queued >> 10} KiB, +{grown:.0f} MiB, "
         f"the stopped one: {got['received']} + {got['dropped']} lost, each at its place; {calm}")  # fmt: skip
