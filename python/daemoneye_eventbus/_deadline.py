"""Every wait has a deadline, and a deadline is a number."""

from __future__ import annotations

import math

__all__ = ["seconds"]


def seconds(name: str, value: object) -> float:
    """``value`` as seconds; below zero is now. Names the argument in what it raises."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name}: expected seconds as float, got {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isnan(number):
        raise ValueError(f"{name}: NaN is not a number of seconds")
    return number
