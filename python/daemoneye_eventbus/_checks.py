"""Checks of settings, for the classes that hold them: a refusal names the field, its limit, and what was given."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, TypeVar, cast

__all__ = [
    "WINDOWS",
    "choice",
    "file_path",
    "flag",
    "integer",
    "number",
    "one_of",
    "only_elsewhere",
    "plain",
    "seconds",
    "shown",
    "sids",
    "uids",
]

T = TypeVar("T")

WINDOWS: Final = os.name == "nt"
_SHOWN: Final = 64
_LARGEST_SHOWN: Final = 2**64
_SHORTEST: Final = 1e-6
_LONGEST: Final = 7 * 24 * 3600
"""Seconds; nobody means to wait longer."""
_LARGEST_UID: Final = 2**32 - 2
_SID: Final = re.compile(r"S-1-(\d+|0x[0-9A-Fa-f]+)(-\d+){1,15}", re.IGNORECASE | re.ASCII)


def shown(value: object) -> str:
    """As it is written, as far as an error should repeat it."""
    # Longer integers say nothing, and Python refuses to write the longest.
    if isinstance(value, int) and abs(value) >= _LARGEST_SHOWN:
        return "a larger number"
    if isinstance(value, str) and len(value) > _SHOWN:
        return f"{value[:_SHOWN]!r}..."
    if isinstance(value, str | int | float) or value is None:
        return repr(value)
    return f"something of type {type(value).__name__}"


def _got(value: object) -> str:
    return "" if isinstance(value, int) and abs(value) >= _LARGEST_SHOWN else f", got {value}"


def plain(value: float) -> float:
    """What is in it, whatever a class derived from its type makes of comparing it."""
    return int.__add__(value, 0) if isinstance(value, int) else float.__add__(value, 0.0)


def integer(owner: object, name: str, low: int, high: int = 2**63 - 1) -> None:
    value = getattr(owner, name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{type(owner).__name__}.{name}: expected int, got {type(value).__name__}")
    value = plain(value)
    if not low <= value <= high:
        raise ValueError(f"{type(owner).__name__}.{name}: must be between {low} and {high}{_got(value)}")
    object.__setattr__(owner, name, value)


def number(owner: object, name: str, low: float, high: float) -> None:
    value = getattr(owner, name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{type(owner).__name__}.{name}: expected a number, got {type(value).__name__}")
    value = plain(value)
    # NaN is within no limits either.
    if not low <= value <= high:
        raise ValueError(f"{type(owner).__name__}.{name}: must be between {low:g} and {high:g}{_got(value)}")
    object.__setattr__(owner, name, float(value))


def seconds(owner: object, *names: str, zero: bool = False) -> None:
    for name in names:
        value = getattr(owner, name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise TypeError(f"{type(owner).__name__}.{name}: expected seconds as float, got {type(value).__name__}")
        value = plain(value)
        least = 0 if zero else _SHORTEST
        # NaN is not within them either.
        if not least <= value <= _LONGEST:
            raise ValueError(f"{type(owner).__name__}.{name}: must be {least:g} to {_LONGEST} seconds{_got(value)}")
        object.__setattr__(owner, name, value)


def choice(owner: object, name: str, *known: str) -> None:
    value: object = getattr(owner, name)
    if not isinstance(value, str):
        raise TypeError(f"{type(owner).__name__}.{name}: expected str, got {type(value).__name__}")
    if value not in known:
        raise ValueError(f"{type(owner).__name__}.{name}: must be one of {', '.join(known)}, got {shown(value)}")


def flag(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if not isinstance(value, bool):
            raise TypeError(f"{type(owner).__name__}.{name}: expected bool, got {type(value).__name__}")


def uids(owner: object, name: str) -> None:
    value = getattr(owner, name)
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise TypeError(f"{type(owner).__name__}.{name}: expected a sequence of uids, got {type(value).__name__}")
    items = tuple(cast("Sequence[object]", value))
    for uid in items:
        if not isinstance(uid, int) or isinstance(uid, bool) or not 0 <= uid <= _LARGEST_UID:
            raise ValueError(
                f"{type(owner).__name__}.{name}: {shown(uid)} is not a uid, which is between 0 and {_LARGEST_UID}"
            )
    object.__setattr__(owner, name, items)


def sids(owner: object, name: str) -> None:
    value = getattr(owner, name)
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise TypeError(f"{type(owner).__name__}.{name}: expected a sequence of SIDs, got {type(value).__name__}")
    items = tuple(cast("Sequence[object]", value))
    for sid in items:
        if not isinstance(sid, str) or not _SID.fullmatch(sid):
            raise ValueError(
                f"{type(owner).__name__}.{name}: {shown(sid)} is not a SID; give its text, as in S-1-5-32-545"
            )
    object.__setattr__(owner, name, items)


def only_elsewhere(owner: object, *names: str, instead: str) -> None:
    """Who may connect, or is trusted, is said in the words of the system; others would have no effect."""
    for name in names:
        (default,) = (item.default for item in fields(cast("Any", owner)) if item.name == name)
        if getattr(owner, name) != default:
            system = "Windows" if WINDOWS else "Unix"
            raise ValueError(f"{type(owner).__name__}.{name}: has no effect on {system}; use {instead}")


def one_of(kind: type[T], name: str, value: T | None) -> T:
    """``value``, or one with every default."""
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise TypeError(f"{name}: expected {kind.__name__}, got {type(value).__name__}")
    return value


def file_path(given: object) -> Path:
    """A path as a caller gave it."""
    text = _text_of(given)
    if text is None:
        raise TypeError(f"path: expected str or os.PathLike, got {type(given).__name__}")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise ValueError(f"path: {shown(text)} is no file name of this system") from None
    return Path(text)


def _text_of(given: object) -> str | None:
    if not isinstance(given, str | os.PathLike):
        return None
    text: object = os.fspath(cast("str | os.PathLike[str]", given))
    return text if isinstance(text, str) else None
