"""Numbers of a broker as JSON and as columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final, cast

__all__ = ["counted", "duration", "flat", "plain", "short", "table"]

_STEP: Final = 1000
_UNITS: Final = ("", "k", "M", "G", "T", "P", "E")


def plain(numbers: Any) -> dict[str, Any]:
    """A dataclass as JSON takes it."""
    found: dict[str, Any] = {}
    for field in fields(numbers):
        value = getattr(numbers, field.name)
        found[field.name] = dict(cast("Mapping[str, int]", value)) if isinstance(value, Mapping) else value
    return found


def flat(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """One value for each name: what is counted by reason becomes ``name.reason``."""
    found: dict[str, Any] = {}
    for name, value in numbers.items():
        if isinstance(value, dict):
            found.update({f"{name}.{reason}": count for reason, count in cast("dict[str, int]", value).items()})
        else:
            found[name] = value
    return found


def short(value: float | None, digits: int = 5) -> str:
    """A number in at most so many characters, if need be with a unit of 1000; a dash for none."""
    if value is None:
        return "-"
    number = float(value)
    for unit in _UNITS:
        text = f"{number:.0f}{unit}" if not unit or number >= _STEP / 10 else f"{number:.1f}{unit}"
        if len(text) <= digits or unit == _UNITS[-1]:
            return text
        number /= _STEP
    return str(value)


def counted(number: int, noun: str) -> str:
    """A number of things, as people say it."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(total: int) -> str:
    """Seconds as a clock shows them."""
    minutes, rest = divmod(total, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (f"{days}d " if days else "") + f"{hours:02}:{minutes:02}:{rest:02}"


def table(rows: list[list[str]], *, left: frozenset[int]) -> list[str]:
    """Columns as wide as what stands in them, the last one ragged; those in ``left`` begin at the same place."""
    last = len(rows[0]) - 1
    widths = [max(len(row[column]) for row in rows) for column in range(last)]
    lines: list[str] = []
    for row in rows:
        cells = [
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append(" ".join([*cells, row[last]]).rstrip())
    return lines
