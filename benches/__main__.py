"""``python -m benches``: rounds of every contestant in turn, scenario by scenario; a table each, and one JSON file."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benches.contestants import Contestant, contestant
from benches.machine import about
from benches.peers import PEERS
from benches.plots import draw
from benches.processes import RunFailed
from benches.report import fill, table, write
from benches.scenarios import NAMES, QUICK, Scale

_PACKAGE = "benches.scenarios"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benches", description=__doc__)
    parser.add_argument(
        "--scenario", nargs="+", choices=NAMES, default=list(NAMES), metavar="NAME", help=", ".join(NAMES)
    )
    parser.add_argument(
        "--peers",
        nargs="+",
        type=contestant,
        metavar="WHO",
        help="PEER[:VARIANT][+uvloop][@PYTHON] of "
        + "; ".join(f"{peer.name} ({', '.join(peer.variants)})" for peer in PEERS.values())
        + ". PYTHON is another environment's interpreter, to compare builds",
    )
    parser.add_argument("--rounds", type=int, help="of each contestant, in turn; default 5, quick 3")
    parser.add_argument("--seconds", type=float, help="of a throughput round; default 3, quick 1")
    parser.add_argument("--quick", action="store_true", help="short rounds, for ratios while tuning")
    parser.add_argument("--json", type=Path, help="add the result to this file, scenario by scenario")
    parser.add_argument("--docs", type=Path, help="put tables and pictures of that file into docs/performance.md here")
    parser.add_argument("--draw-only", action="store_true", help="measure nothing; use the file as it is")
    return parser.parse_args(argv)


def _present(wanted: Sequence[Contestant]) -> tuple[list[Contestant], dict[str, str]]:
    present, skipped = [], {}
    for one in wanted:
        why = None if one.python else PEERS[one.peer].missing()
        if why:
            skipped[one.name] = why
        else:
            present.append(one)
    return present, skipped


def _rounds(scenario: Any, present: list[Contestant], rounds: int, scale: Scale) -> dict[str, list[dict[str, Any]]]:
    """Each round starts with another contestant, so that nobody always runs after the same."""
    results: dict[str, list[dict[str, Any]]] = {one.name: [] for one in present}
    for number in range(rounds):
        start = number % len(present)
        for one in present[start:] + present[:start]:
            try:
                result = scenario.run(one, scale)
            except RunFailed as error:
                result = {"void": str(error)}
            results[one.name].append(result)
            first = next(iter(scenario.COLUMNS))
            value = result.get(first)
            said = result.get("void") or (
                f"{value:,.1f} {scenario.COLUMNS[first]}" if isinstance(value, float) else "done"
            )
            print(f"  round {number + 1}: {one.name}: {said}", file=sys.stderr, flush=True)
    return results


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what was asked for."""
    asked = _arguments(argv)
    scale = QUICK if asked.quick else Scale()
    if asked.seconds:
        scale = replace(scale, seconds=asked.seconds)
    rounds = asked.rounds or (3 if asked.quick else 5)
    scenarios = {name: importlib.import_module(f"{_PACKAGE}.{name}") for name in NAMES}
    document: dict[str, Any] = {"machine": about(), "rounds": rounds, "quick": asked.quick, "scenarios": {}}
    if asked.json and asked.json.exists():
        # What was measured before stays until it is measured again.
        before = json.loads(asked.json.read_text(encoding="utf-8"))
        document = before if asked.draw_only else {**document, "scenarios": before["scenarios"]}
    for name in () if asked.draw_only else asked.scenario:
        scenario = scenarios[name]
        print(f"{scenario.TITLE} ({rounds} rounds)", file=sys.stderr, flush=True)
        present, skipped = _present(asked.peers or [contestant(text) for text in scenario.DEFAULT])
        for who, why in skipped.items():
            print(f"  skipped: {who}: {why}", file=sys.stderr)
        results = _rounds(scenario, present, rounds, scale) if present else {}
        document["scenarios"][name] = {"title": scenario.TITLE, "skipped": skipped, "rounds": results}
        print(table(scenario, results), flush=True)
        if asked.json:
            write(asked.json, document)
    if asked.docs:
        fill(asked.docs / "performance.md", document, scenarios)
        draw(document, scenarios, asked.docs / "performance.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
