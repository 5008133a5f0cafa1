"""What a person reads and what a program reads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benches.figures import column, ratios, spread

Rounds = Mapping[str, Sequence[Mapping[str, Any]]]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def table(scenario: Any, results: Rounds) -> str:
    """Medians with their spread, and the first column's ratio to the reference, taken round by round."""
    if hasattr(scenario, "table"):
        return str(scenario.table(results))
    first = next(iter(scenario.COLUMNS))
    reference = results.get(scenario.REFERENCE)
    head = ["", *scenario.COLUMNS.values()]
    if reference is not None:
        head.append(f"{scenario.COLUMNS[first]}, x {scenario.REFERENCE}")
    rows = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for who, rounds in results.items():
        row = [who]
        for key in scenario.COLUMNS:
            values = [value for value in column(rounds, key) if value is not None]
            if not values:
                row.append("void" if key == first else "")
                continue
            of = spread(values)
            text = _number(of["median"])
            if key == first:
                text += f" ({_number(of['least'])} to {_number(of['most'])})"
            row.append(text)
        if reference is not None:
            of_each = ratios(column(rounds, first), column(reference, first))
            row.append(f"{of_each['median']:.2f} ({of_each['least']:.2f} to {of_each['most']:.2f})" if of_each else "")
        rows.append(row)
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    for who, rounds in results.items():
        void = [one["void"] for one in rounds if one.get("void")]
        if void:
            lines.append(f"\n{who}: {len(void)} of {len(rounds)} rounds void: {void[0]}")
    return "\n".join(lines) + "\n"


def fill(page: Path, document: Mapping[str, Any], scenarios: Mapping[str, Any]) -> None:
    """Puts tables, and where they were measured, between the page's ``<!-- NAME -->`` and ``<!-- end -->``."""
    machine = document["machine"]
    length = "short rounds, for ratios only" if document["quick"] else "whole rounds"
    versions = "; ".join(f"{name}: {version}" for name, version in machine["versions"].items() if version)
    parts = {
        "machine": f"{machine['date']}; {machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}, "
        f"load {machine['load_before'][0]} before; CPython {machine['python']}; medians of {document['rounds']} rounds "
        f"in turn ({length}).\n{versions}.\n"
    }
    for name, part in document["scenarios"].items():
        parts[name] = table(scenarios[name], part["rounds"])
        for who, why in part["skipped"].items():
            parts[name] += f"\nSkipped: {who}: {why}.\n"
    text = page.read_text(encoding="utf-8")
    for name, part in parts.items():
        block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = block.sub(lambda found, part=part: f"{found[1]}{part}{found[2]}", text)
    page.write_text(text, encoding="utf-8")


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Every round, as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
