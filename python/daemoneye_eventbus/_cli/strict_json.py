"""JSON as its standard has it. Python's reader also takes ``NaN``, ``Infinity`` and what is beyond every float, and its
writer would say them again; and how deep it reads depends on the version, from Python 3.14 on so deep that a small text
becomes gigabytes when it is indented. Of two values with one name it drops the first: so may a reader of control texts,
as a broker does with names that it does not know, but not one of what is to be published."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["loads"]

_SHOWN: Final = 40
_DEEPEST: Final = 32
"""As deep as the broker reads."""


def loads(text: str | bytes, *, unique: bool = False) -> Any:
    """What ``text`` says; ``ValueError`` for what is none, and with ``unique`` for a name that an object has twice."""
    try:
        pairs_hook = _once if unique else None
        value = json.loads(text, parse_float=_finite, parse_constant=_finite, object_pairs_hook=pairs_hook)
    except RecursionError:
        raise ValueError("nested too deep") from None
    # To count costs nothing beside the reading, to look inside half of it.
    if _opened(text) > _DEEPEST and _is_too_deep(value):
        raise ValueError("nested too deep")
    return value


def _opened(text: str | bytes) -> int:
    if isinstance(text, bytes):
        return text.count(b"[") + text.count(b"{")
    return text.count("[") + text.count("{")


def _is_too_deep(value: Any) -> bool:
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        level = [inner for outer in level for inner in _inside(outer) if isinstance(inner, (dict, list))]
    return bool(level)


def _inside(value: Any) -> Iterable[Any]:
    return cast("dict[str, Any]", value).values() if isinstance(value, dict) else value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{twice[:_SHOWN]!r} is given twice")
    return value


def _finite(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(f"{word[:_SHOWN]} is no number of JSON; write it as a string")
    return value
