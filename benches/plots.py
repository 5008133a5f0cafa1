"""SVG pictures of a result: bars per scenario, lines for growth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benches.figures import column

_OURS = "#1f6f8b"
_PEER = "#b0b7bc"
_PARTS = {"publisher": "#1f6f8b", "broker": "#e08e45", "subscriber": "#7a9e3f"}
_AXES = {
    "size": "bytes of a message",
    "subscribers": "subscribers",
    "publishers": "publishers",
    "subscriptions": "subscriptions at the broker",
}


def draw(document: Mapping[str, Any], scenarios: Mapping[str, Any], page: Path) -> list[Path]:
    """Writes the pictures that the page shows, in a folder of its name; nothing without matplotlib."""
    try:
        import matplotlib as mpl  # noqa: PLC0415  # whoever only wants figures needs no pictures
    except ImportError:
        return []
    mpl.use("svg")
    # The same result gives the same file.
    mpl.rcParams.update(
        {"svg.hashsalt": "benches", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    folder, shown = page.with_suffix(""), page.read_text(encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, part in document["scenarios"].items():
        path = folder / f"{name}.svg"
        if f"({folder.name}/{path.name})" not in shown:
            continue
        rounds = part["rounds"]
        figure = _growth(rounds) if name == "growth" else _bars(scenarios[name], rounds)
        if figure is not None:
            figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
            written.append(path)
    return written


def _bars(scenario: Any, rounds: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any:
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import EngFormatter, MaxNLocator  # noqa: PLC0415

    keys = list(scenario.PLOTTED)
    rows = []
    for who, of in rounds.items():
        values = [[value for value in column(of, key) if value is not None] for key in keys]
        if all(values):
            rows.append((who, values))
    if not rows:
        return None
    rows.reverse()
    figure = Figure(figsize=(3.6 * len(keys) + 1, 0.32 * len(rows) + 0.9))
    for number, key in enumerate(keys):
        axes = figure.add_subplot(1, len(keys), number + 1)
        medians = [median(values[number]) for _, values in rows]
        reach = [
            [middle - min(values[number]) for middle, (_, values) in zip(medians, rows, strict=True)],
            [max(values[number]) - middle for middle, (_, values) in zip(medians, rows, strict=True)],
        ]
        names = [who for who, _ in rows]
        colours = [_OURS if who.startswith(("ours", "core")) else _PEER for who in names]
        axes.barh(names, medians, xerr=reach, color=colours, error_kw={"lw": 0.8, "capsize": 2})
        if max(medians) > 50 * min(medians) > 0:
            axes.set_xscale("log")
        else:
            axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlabel(scenario.COLUMNS[key])
        if number:
            axes.set_yticklabels([])
    figure.tight_layout()
    return figure


def _growth(rounds: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any:
    from matplotlib.figure import Figure  # noqa: PLC0415

    points: dict[str, dict[float, list[Mapping[str, Any]]]] = {}
    for one in (one for of in rounds.values() for one in of):
        for point in one.get("points", ()):
            if "cpu" in point:
                points.setdefault(point["axis"], {}).setdefault(point["at"], []).append(point)
    if not points:
        return None
    figure = Figure(figsize=(8, 5.6))
    for number, (axis, at) in enumerate(points.items()):
        axes = figure.add_subplot(2, 2, number + 1)
        values = sorted(at)
        for part, colour in _PARTS.items():
            costs = [median(point["cpu"].get(part, 0.0) for point in at[value]) for value in values]
            axes.plot(values, costs, marker="o", ms=3, lw=1.2, color=colour, label=part)
        axes.set_xscale("log")
        if axis == "size":
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        axes.set_xlabel(_AXES[axis])
        axes.set_ylabel("CPU us per event delivered")
        if not number:
            axes.legend(frameon=False)
    figure.tight_layout()
    return figure
