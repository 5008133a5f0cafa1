"""Fault 42. A megabyte in the way of 200 bytes."""

import time

import pytest
from harness import scaled

pytestmark = [
    pytest.mark.fault(42, "H", "1 MiB frames on one connection beside a 200 B canary", "canary p99 under 5 ms"),
    pytest.mark.limit(60),
]


def test_large_frames_do_not_delay_small_ones(bench, seen):
    b = bench()
    reader = b.reader()
    flood = b.flood(rate=20, seconds=scaled(3, 15), size=1000 << 10, config={"congestion": "block"})
    time.sleep(0.2)
    b.canary.ask()
    done = flood.json(60)
    calm = b.undisturbed()
    got = reader.ask(expect=done["published"])
    assert got["received"] + got["dropped"] == done["published"], got
    seen(f"{done['published']} frames of 1 MiB beside it; {calm}")
