"""Fault 27. Connections that come and go."""

import time

import pytest
from harness import MIB, scaled

pytestmark = [
    pytest.mark.fault(
        27,
        "M",
        "1,000 connect+auth+close per second, 60 s",
        "RSS slope under 1 MiB/min after warm-up; accept p99 under 50 ms",
    ),
    pytest.mark.limit(120),
]


def test_churn_leaves_no_memory_behind(bench, seen):
    b = bench()
    seconds = scaled(4, 20, 60)
    rate = 1000
    times, sizes = [], []

    def churn(duration):
        end = time.monotonic() + duration
        due = time.monotonic()
        while time.monotonic() < end:
            begin = time.monotonic()
            peer = b.dial()
            peer.connect()
            times.append(time.monotonic() - begin)
            peer.close()
            b.raws.clear()
            due = max(due + 1 / rate, time.monotonic() - 0.5)
            time.sleep(max(0, due - time.monotonic()))

    churn(seconds / 2)
    times.clear()
    sizes.append(b.reading().rss)
    begin = time.monotonic()
    churn(seconds)
    sizes.append(b.reading().rss)
    minutes = (time.monotonic() - begin) / 60
    slope = (sizes[1] - sizes[0]) / MIB / minutes
    p99 = sorted(times)[int(len(times) * 0.99)] * 1000
    # A short run cannot tell a slope from a page or two.
    assert sizes[1] - sizes[0] < max(1, minutes) * MIB, sizes
    assert p99 < 50, p99
    b.back_to_base()
    seen(f"{len(times) / seconds:.0f}/s for {seconds} s, {slope:+.2f} MiB/min, p99 {p99:.1f} ms; {b.undisturbed()}")
