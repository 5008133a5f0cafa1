"""What a user's value may be: ``TypeError`` for one of another type, ``ValueError`` for one out of range.

An error begins with the place of the value, as in ``BrokerConfig.max_frame``, and says what it takes. None repeats more
of a value than helps, and none fails at writing it down.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

__all__ = ["choice", "flags", "integer", "items", "number", "place", "short", "store", "uids", "wrong"]

_SHOWN: Final = 64
"""Characters of a text."""
_LARGEST_UID: Final = 2**32 - 2
"""The one above means "no change" to `chown`."""


def place(owner: object, name: str) -> str:
    """A field, as errors name it."""
    return f"{type(owner).__name__}.{name}"


def store(owner: object, name: str, value: object) -> None:
    """Sets a field of a frozen dataclass that is being made."""
    object.__setattr__(owner, name, value)


def short(value: str) -> str:
    """As it is written, as far as an error should repeat it."""
    return repr(value) if len(value) <= _SHOWN else f"{value[:_SHOWN]!r}..."


def wrong(where: str, expected: str, value: object) -> TypeError:
    """The error for a value of another type."""
    return TypeError(f"{where}: expected {expected}, got {type(value).__name__}")


def _got(value: float) -> str:
    # Longer integers say nothing, and Python refuses to write the longest.
    return "" if isinstance(value, int) and abs(value) >= 2**64 else f", got {value}"


def integer(where: str, value: object, low: int, high: int) -> int:
    """From ``low`` to ``high``."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong(where, "int", value)
    if not low <= value <= high:
        raise ValueError(f"{where}: must be between {low} and {high}{_got(value)}")
    return int(value)


def number(where: str, value: object, low: float, high: float, unit: str = "") -> float:
    """From ``low`` to ``high``, of some unit; NaN is not."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise wrong(where, f"{unit} as float" if unit else "a number", value)
    if not low <= value <= high:
        raise ValueError(f"{where}: must be between {low:g} and {high:g} {unit}".rstrip() + _got(value))
    return float(value)


def choice(where: str, value: object, *known: str) -> None:
    """One of some words."""
    if not isinstance(value, str):
        raise wrong(where, "str", value)
    if value not in known:
        raise ValueError(f"{where}: must be one of {', '.join(known)}, got {short(value)}")


def flags(owner: object, *names: str) -> None:
    """Fields that are true or false."""
    for name in names:
        value = getattr(owner, name)
        if not isinstance(value, bool):
            raise wrong(place(owner, name), "bool", value)


def items(where: str, value: object, expected: str) -> tuple[object, ...]:
    """What a sequence holds."""
    # A str is a sequence of str, and giving one in place of a list is the usual mistake.
    if isinstance(value, str | bytes | bytearray) or not isinstance(value, Sequence):
        raise wrong(where, expected, value)
    return tuple(cast("Sequence[object]", value))


def uids(where: str, value: object) -> tuple[int, ...]:
    """A sequence of users' numbers."""
    return tuple(integer(where, uid, 0, _LARGEST_UID) for uid in items(where, value, "a sequence of uids"))
