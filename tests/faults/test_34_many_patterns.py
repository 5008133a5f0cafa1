"""Fault 34. Patterns by the thousand."""

import time

import pytest
from harness import scaled, times

from raw import process_message

pytestmark = [
    pytest.mark.fault(
        34,
        "H",
        "10,000 patterns of +/# then publishes at full depth; one client subscribes 100,000 patterns",
        "match p99 under 1 ms; per-client pattern cap with error",
    ),
    pytest.mark.limit(120),
]


def patterns(count: int):
    """Different ones that all could match a topic of eight segments, none of which does until its last."""
    for number in range(count):
        bits = f"{number:020b}"[-6:]
        segments = ["+" if bit == "1" else "a" for bit in bits]
        exact = f"events.{'.'.join(segments)}.x{number}"
        yield exact if number % 2 else f"events.{'.'.join(segments[:5])}.x{number}.#"


def test_matching_stays_fast_and_one_client_is_capped(bench, seen):
    b = bench({"max_patterns_per_client": 1024})
    total = times(scaled(3000, 10_000))
    wanted = list(patterns(total))
    for start in range(0, total, 1000):
        peer = b.connected()
        for number, at in enumerate(range(start, min(start + 1000, total), 250), 1):
            peer.subscribe(number, *wanted[at : at + 250])
    greedy = b.connected()
    refused = 0
    for number in range(1, 1200):
        greedy.sub(number, f"events.greedy.x{number}")
        verb, fields = greedy.hear()
        if verb == "ERR":
            assert fields["code"] == "subscription_refused", fields
            assert "1024" in fields["message"], fields
            refused += 1
    assert refused == 1199 - 1024
    publisher = b.connected()
    took = []
    for number in range(scaled(300, 2000)):
        body = process_message(number, f"events.a.a.a.a.a.a.t{number}")  # a new topic each time: nothing cached
        begin = time.monotonic()
        publisher.send(body)
        publisher.say("PING")
        publisher.expect("PONG")
        took.append(time.monotonic() - begin)
    p50, p99 = (sorted(took)[int(len(took) * share)] * 1000 for share in (0.5, 0.99))
    calm = b.undisturbed()
    # Two writes and a round trip are in it.
    assert p50 < 1, p50
    assert b.busy_with_others or p99 < max(1, 5 * b.relay_p99), p99
    seen(f"{total} patterns: publish and answer p50 {p50:.2f}, p99 {p99:.2f} ms; {refused} above the cap; {calm}")
