"""Fault 39. A reader that is fifty times too slow."""

import pytest
from harness import scaled, times, until

pytestmark = [
    pytest.mark.fault(
        39,
        "H",
        "subscriber handling 100 msg/s of 5,000",
        "documented policy (drop oldest, drop newest or cut), gap count delivered in-band",
    ),
    pytest.mark.limit(120),
]
POLICIES = {
    "drop_oldest": {"options": {"queue_messages": 50, "overflow": "drop_oldest"}},
    "drop_newest": {"options": {"queue_messages": 50, "overflow": "drop_newest"}},
    "at the broker": {
        "options": {"queue_messages": 10, "overflow": "block"},
        "config": {"broker_queue_messages": 100, "broker_overflow": "drop_oldest"},
    },
}


@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_lost_is_told_at_its_place(bench, seen, policy):
    b = bench()
    total = times(scaled(5000, 25_000))
    # One loop turn each is 100 a second where the machine is at its best.
    reader = b.reader(delay=0.01, **POLICIES[policy])
    flood = b.flood(rate=5000, count=total, size=scaled(300, 300))
    assert flood.json(60)["published"] == total
    got = reader.ask(expect=total, within=20, timeout=40)
    last_ones = total - got["received"] - got["dropped"]
    assert last_ones <= 1, got
    assert got["dropped"] > 0
    assert got["in_order"]
    assert got["twice"] == got["misplaced"] == 0, got
    seen(f"{policy}: {got['received']} + {got['dropped']} lost of {total}, each gap at its place; {b.undisturbed()}")


@pytest.mark.quick
def test_only_disconnect_cuts(bench, seen):
    b = bench({"queue_messages": 200})
    slow = b.connected(overflow="disconnect")
    slow.subscribe(1, "events.performance.flood")
    patient = b.connected()
    patient.subscribe(1, "events.performance.flood")
    b.flood(count=20_000, size=200).json(60)
    until(lambda: b.refused("slow_consumer") == 1, 1, "cut")
    assert slow.closed()["code"] == "slow_consumer"
    _, told = patient.messages_until("DROPPED")
    assert sum(told["subscriptions"].values()) > 0
    seen(f"cut only with disconnect; {b.undisturbed()}")
