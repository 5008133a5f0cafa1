"""What a user's value may be: ``TypeError`` for one of another type, ``ValueError`` for one out of range.

An error begins with the place of the value, as in ``BrokerConfig.max_frame``, and says what it takes. None repeats more
of a value than helps, and none fails at writing it down.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, TypeVar, cast

__all__ = [
    "WINDOWS",
    "bounded",
    "choice",
    "file_path",
    "flags",
    "got",
    "instance_or_default",
    "integer",
    "items",
    "number",
    "only_elsewhere",
    "own_uid",
    "pairs",
    "place",
    "short",
    "sids",
    "store",
    "text",
    "uids",
    "wrong_type",
]

T = TypeVar("T")

WINDOWS: Final = os.name == "nt"
_SID: Final = re.compile(r"S-1-(\d+|0x[0-9A-Fa-f]+)(-\d+){1,15}", re.IGNORECASE | re.ASCII)
_SHOWN: Final = 64
"""Characters of a text."""
_MOST: Final = 2**16
"""Entries of a list or mapping. None that can take effect is longer: a subscription is 64 KiB of text at most."""
_LARGEST_UID: Final = 2**32 - 2
"""The one above means "no change" to `chown`."""


def place(owner: object, name: str) -> str:
    """The name of a field in errors: ``Class.field``."""
    return f"{type(owner).__name__}.{name}"


def store(owner: object, name: str, value: object) -> None:
    """Sets a field of a frozen dataclass that is being made."""
    object.__setattr__(owner, name, value)


def short(value: str) -> str:
    """As it is written, as far as an error should repeat it."""
    return repr(value) if len(value) <= _SHOWN else f"{value[:_SHOWN]!r}..."


def wrong_type(where: str, expected: str, value: object) -> TypeError:
    """The error for a value of another type."""
    return TypeError(f"{where}: expected {expected}, got {type(value).__name__}")


def got(value: float) -> str:
    """The end of an error: the number that was given."""
    # Longer integers say nothing, and Python refuses to write the longest.
    return "" if isinstance(value, int) and abs(value) >= 2**64 else f", got {value}"


def integer(where: str, value: object, low: int, high: int) -> int:
    """From ``low`` to ``high``."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(where, "int", value)
    # What is in it, whatever a class derived from it makes of comparing it.
    value = int.__add__(value, 0)
    if not low <= value <= high:
        raise ValueError(f"{where}: must be between {low} and {high}{got(value)}")
    return value


def number(where: str, value: object, low: float, high: float, unit: str = "") -> float:
    """From ``low`` to ``high``, of some unit; NaN is not."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise wrong_type(where, f"{unit} as float" if unit else "a number", value)
    value = int.__add__(value, 0) if isinstance(value, int) else float.__add__(value, 0.0)
    if not low <= value <= high:
        raise ValueError(f"{where}: must be between {low:g} and {high:g} {unit}".rstrip() + got(value))
    return float(value)


def text(where: str, value: object) -> str:
    """Any text."""
    if not isinstance(value, str):
        raise wrong_type(where, "str", value)
    # What is in it: members of an enumeration that derives from `str` write themselves by their names.
    return str.__str__(value)


def choice(where: str, value: object, *known: str) -> None:
    """One of some words."""
    if not isinstance(value, str):
        raise wrong_type(where, "str", value)
    if value not in known:
        raise ValueError(f"{where}: must be one of {', '.join(known)}, got {short(value)}")


def flags(owner: object, *names: str) -> None:
    """Fields that are true or false."""
    for name in names:
        value = getattr(owner, name)
        if not isinstance(value, bool):
            raise wrong_type(place(owner, name), "bool", value)


def items(where: str, value: object, expected: str) -> tuple[object, ...]:
    """What a sequence holds."""
    # A str is a sequence of str, and giving one in place of a list is the usual mistake.
    if isinstance(value, str | bytes | bytearray) or not isinstance(value, Sequence):
        raise wrong_type(where, expected, value)
    return tuple(bounded(where, cast("Sequence[object]", value)))


def pairs(where: str, value: object, expected: str) -> Iterator[tuple[object, object]]:
    """What a mapping holds."""
    if not isinstance(value, Mapping):
        raise wrong_type(where, expected, value)
    return bounded(where, cast("Mapping[object, object]", value).items())


def bounded(where: str, values: Iterable[T]) -> Iterator[T]:
    """``values`` of a class that may say any length, and never end."""
    for number, value in enumerate(values):
        if number == _MOST:
            raise ValueError(f"{where}: at least {_MOST + 1} entries are above the limit of {_MOST}; leave some out")
        yield value


def own_uid() -> int | None:
    """Whose process this is; ``None`` on Windows."""
    if sys.platform == "win32":
        return None
    return os.geteuid()


def uids(where: str, value: object) -> tuple[int, ...]:
    """A sequence of users' numbers."""
    return tuple(integer(where, uid, 0, _LARGEST_UID) for uid in items(where, value, "a sequence of uids"))


def sids(where: str, value: object) -> tuple[str, ...]:
    """A sequence of users and groups as Windows names them."""
    texts: list[str] = []
    for sid in items(where, value, "a sequence of SIDs"):
        if not isinstance(sid, str):
            raise wrong_type(where, "a SID as str", sid)
        if not _SID.fullmatch(sid):
            raise ValueError(f"{where}: {short(sid)} is not a SID; give its text, as in S-1-5-32-545")
        texts.append(sid)
    return tuple(texts)


def only_elsewhere(owner: object, *names: str, instead: str) -> None:
    """Refuses fields that have an effect on the other system only: users have numbers on Unix, and SIDs on Windows."""
    for name in names:
        (default,) = (item.default for item in fields(cast("Any", owner)) if item.name == name)
        if getattr(owner, name) != default:
            system = "Windows" if WINDOWS else "Unix"
            raise ValueError(f"{place(owner, name)}: has no effect on {system}; use {instead}")


def instance_or_default(kind: type[T], where: str, value: T | None) -> T:
    """``value``, or one with every default."""
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise wrong_type(where, kind.__name__, value)
    return value


def file_path(given: object) -> str:
    """A path as a caller gave it. Text, since native code that asks a `Path` for it runs Python, and a thread that the
    interpreter ends below native code aborts the process."""
    text = _text_of(given)
    if text is None:
        raise wrong_type("path", "str or os.PathLike", given)
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise ValueError(f"path: {short(text)} is no file name of this system") from None
    # As it is: a `Path` of it would hide from native code that it is empty, or ends with a slash.
    return text


def _text_of(given: object) -> str | None:
    if not isinstance(given, str | os.PathLike):
        return None
    text: object = os.fspath(cast("str | os.PathLike[str]", given))
    return str.__str__(text) if isinstance(text, str) else None
