"""The faults of the catalogue: which of them run, what they saw, and the table at the end.

Every test is marked ``fault(number, severity, what, expected)``. By default only those marked ``quick`` run; with
DAEMONEYE_FAULTS=all every one of them, with =full in the catalogue's own numbers.
"""

from __future__ import annotations

import os
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import QUICK, SCALE, Bench

COUNT = 60
LONGEST = 8


@dataclass
class Row:
    severity: str
    what: str
    expected: str
    seen: list[str] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """The worst of its tests; where some could not run, the others do not stand for them."""
        for worst in ("failed", "skipped"):
            if worst in self.outcomes:
                return worst
        return "holds"


ROWS: dict[int, Row] = {}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(number, severity, what, expected): a fault of the catalogue")
    config.addinivalue_line("markers", "quick: runs with all other tests, not only with `make faults`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    mine = [item for item in items if item.get_closest_marker("fault")]
    items_by_order = {id(item): item for item in mine}
    if SCALE == QUICK:
        left_out = [item for item in mine if not item.get_closest_marker("quick")]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if id(item) not in items_by_order or item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    marker = item.get_closest_marker("fault")
    if marker is not None:
        number, severity, what, expected = marker.args
        # What is critical has no excuse as root. In the report itself, since workers have no other way to whoever started them.
        if report.skipped and severity == "C" and hasattr(os, "geteuid") and os.geteuid() == 0:
            report.outcome = "failed"
            report.longrepr = f"a critical fault was skipped as root: {call.excinfo.value if call.excinfo else ''}"
        row = ROWS.setdefault(number, Row(severity, what, expected))
        row.seconds += report.duration
        if report.when == "call" or report.outcome != "passed":
            row.outcomes.append(report.outcome)
        if report.skipped:
            row.seen.append(str(call.excinfo.value) if call.excinfo else "skipped")
        if report.failed and call.excinfo is not None:
            row.seen.append(str(call.excinfo.value).splitlines()[0][:200] if str(call.excinfo.value) else "failed")
        if report.when == "call" and report.passed:
            row.seen += [text for name, text in item.user_properties if name == "seen"]
        item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


FAILED = pytest.StashKey[bool]()


@pytest.fixture
def seen(request: pytest.FixtureRequest) -> Any:
    """Notes what was seen, for the table."""

    def note(text: str) -> None:
        request.node.user_properties.append(("seen", text))

    return note


@pytest.fixture
def bench(request: pytest.FixtureRequest, path: str) -> Any:
    """Starts a `Bench` at the test's own path."""
    made: list[Bench] = []

    def start(config: dict[str, Any] | None = None, **options: Any) -> Bench:
        made.append(Bench(options.pop("path", path), config, **options))
        return made[-1]

    yield start
    for one in made:
        one.close(failed=request.node.stash.get(FAILED, False))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not ROWS or SCALE == QUICK:
        return
    write = terminalreporter.write_line
    terminalreporter.section("faults")
    widths = (3, 3, 44, 40, 48, 8)
    for number, row in sorted(ROWS.items()):
        cells = (str(number), row.severity, row.what, row.expected, "; ".join(row.seen), row.verdict)
        columns = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, widths, strict=True)]
        for line in range(max(map(len, columns))):
            parts = [
                (column[line] if line < len(column) else "").ljust(width)
                for column, width in zip(columns, widths, strict=True)
            ]
            write(" ".join(parts).rstrip())
    verdicts = [row.verdict for row in ROWS.values()]
    missing = sorted(set(range(1, COUNT + 1)) - set(ROWS))
    write(
        f"{verdicts.count('holds')} hold, {verdicts.count('failed')} failed, {verdicts.count('skipped')} skipped"
        + (f", not run: {', '.join(map(str, missing))}" if missing else "")
    )
    longest = sorted(((row.seconds, number) for number, row in ROWS.items()), reverse=True)[:LONGEST]
    write("longest: " + ", ".join(f"{number} in {seconds:.0f} s" for seconds, number in longest))
