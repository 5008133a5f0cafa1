"""Fault 6. What a killed broker leaves behind."""

import time

import pytest
from harness import scaled, times

pytestmark = [
    pytest.mark.fault(6, "H", "stale socket left by SIGKILL", "next start within 1 s, one log line, works"),
    pytest.mark.limit(120),
]


def test_a_killed_broker_is_succeeded(bench, seen):
    b = bench(canary=False, options={"log": "INFO"})
    worst = 0.0
    for _ in range(times(scaled(3, 20))):
        b.broker.kill()
        begin = time.monotonic()
        b.restart()
        worst = max(worst, time.monotonic() - begin)
        stale = [line for line in b.log() if "stale" in line or "dead socket" in line or "removed" in line]
        assert len(stale) == 1, b.log()
        reader = b.reader()
        b.flood(count=10)
        assert reader.ask(expect=10)["received"] == 10
        reader.close()
    # The interpreter's own start is in this as well.
    assert worst < 2.0, worst
    seen(f"process to ready in {worst:.2f} s at worst; {stale[0][:60]}")
