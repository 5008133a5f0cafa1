"""JSON as its standard has it. Python's reader also takes ``NaN``, ``Infinity`` and what is beyond every float, and its
writer would say them again; and it fails at its own stack for what is nested deeply."""

from __future__ import annotations

import json
import math
from typing import Any, Final

__all__ = ["loads"]

_SHOWN: Final = 40


def loads(text: str | bytes) -> Any:
    """What ``text`` says; ``ValueError`` for what is none."""
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _finite(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(f"{word[:_SHOWN]} is no number of JSON; write it as a string")
    return value
