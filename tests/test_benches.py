"""The benchmarks run, and a round that lost anything does not count."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benches.link import END, WARM, Link, Reception  # noqa: E402  # a package beside this folder
from benches.report import table  # noqa: E402
from benches.scenarios import fairness, one_to_one  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="they read the CPU clocks of Linux")


class Recorded(Link):
    """Receives what was written down."""

    def __init__(self, numbers):
        super().__init__("", "", {})
        self.numbers = iter(numbers)

    async def receive(self):
        return next(self.numbers)


def drained(numbers, **settings):
    reception = Reception(**settings)
    asyncio.run(Recorded(numbers).drain(reception))
    return reception


def called(numbers, **settings):
    link, reception = Recorded(numbers), Reception(**settings)
    asyncio.run(link.each(link.counter(reception)))
    return reception


@pytest.mark.parametrize("receive", [drained, called])
@pytest.mark.parametrize(
    ("numbers", "received", "disorder"),
    [
        ([WARM, WARM, 0, 1, 2, END], 3, False),
        ([WARM, 0, 1, 3, 4, END], 4, True),
        ([WARM, 1, 2, END], 2, True),
        ([WARM, 0, 1, 1, 2, END], 4, True),
        ([WARM, 0, 2, 1, 3, END], 4, True),
    ],
)
def test_what_is_lost_repeated_or_out_of_order_is_seen(receive, numbers, received, disorder):
    reception = receive(numbers)
    assert (reception.received, reception.disorder > 0) == (received, disorder)


@pytest.mark.parametrize("receive", [drained, called])
def test_each_of_several_publishers_ends_for_itself(receive):
    reception = receive([WARM, 0, 0, 1, WARM, END, 1, END], publishers=2)
    assert (reception.received, reception.disorder) == (4, 0)


def test_void_rounds_are_said_and_not_counted():
    good = {"rate": 1000.0, "cpu_us": 2.0, "broker_cpu_us": 1.0}
    text = table(one_to_one, {"ours": [good, {**good, "rate": 9000.0, "void": "3 lost, 0 out of order"}]})
    assert "1,000 (1,000 to 1,000)" in text
    assert "1 of 2 rounds void: 3 lost" in text


def test_a_ratio_names_its_column():
    """Of several percentiles, the first need not be the one that a section is about."""
    one = {"p50": 1.0, "p99": 9.0, "p999": 10.0, "beside": 5.0}
    head = table(fairness, {"ours": [one], "zenoh": [one]}).partition("\n")[0]
    assert head.endswith("| p50 us, x zenoh |")
    assert head in (ROOT / "docs/performance.md").read_text(encoding="utf-8")


@pytest.mark.limit(120)
@pytest.mark.parametrize(
    ("scenarios", "peers", "ours"),
    [
        (["one_to_one", "round_trip"], ["ours", "zenoh"], "ours"),
        (["in_process"], ["ours:many", "queue"], "ours:many"),
        (["core"], ["core"], "core"),
    ],
)
def test_they_run_and_name_what_is_missing(tmp_path, scenarios, peers, ours):
    result = tmp_path / "result.json"
    command = [sys.executable, "-m", "benches", "--quick", "--rounds", "1", "--seconds", "0.3", "--json", str(result)]
    done = subprocess.run(
        [*command, "--scenario", *scenarios, "--peers", *peers],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(result.read_text(encoding="utf-8"))["scenarios"]
    for name in scenarios:
        assert "void" not in found[name]["rounds"][ours][0], found[name]
        assert set(found[name]["rounds"]) | set(found[name]["skipped"]) == set(peers)
