"""Values as they are typed: numbers within limits, ``key=value``, times."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from daemoneye_eventbus import CorrelationMetadata, Timestamp, _native, os_text
from daemoneye_eventbus._cli.exits import USAGE, CliError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "check_patterns",
    "correlation_pattern",
    "integer",
    "mapping",
    "number",
    "pair",
    "real",
    "text",
    "timestamp",
]

_U64: Final = 2**64 - 1
# Python reads none that is much longer.
_INTEGER: Final = re.compile(r"-?[0-9]{1,4000}")
_SHOWN: Final = 64
# As many as max_topic_depth may be.
_DEEPEST: Final = 128


def number(least: int, most: int = _U64) -> Callable[[str], int]:
    """A converter of integers within limits."""

    def convert(said: str) -> int:
        # int() also takes what nobody means, such as 1_0 and other scripts' digits.
        if said.isascii() and said.isdigit() and len(said) <= len(str(most)) and least <= int(said) <= most:
            return int(said)
        raise argparse.ArgumentTypeError(f"{said!r} is no integer between {least} and {most}")

    return convert


def integer(said: str) -> int:
    """Any integer, for whoever knows its limits better."""
    # int() also takes what nobody means, such as 1_0 and other scripts' digits.
    if _INTEGER.fullmatch(said):
        return int(said)
    raise argparse.ArgumentTypeError(f"{said[:_SHOWN]!r} is no integer")


def real(what: str) -> Callable[[str], float]:
    """A converter of numbers with a fraction; ``what`` says of what, for whoever knows its limits better."""

    def convert(said: str) -> float:
        try:
            return float(said)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{said[:_SHOWN]!r} is no {what}") from None

    return convert


def text(said: str) -> str:
    """An argument as the bus takes text: bytes that are not Unicode are escaped, reversibly."""
    try:
        said.encode()
    except UnicodeEncodeError:
        return os_text(said)
    return said


def correlation_pattern(said: str) -> str:
    """A pattern of correlation ids; how long one may be is the library's to say."""
    pattern = text(said)
    try:
        CorrelationMetadata("id").matches_pattern(pattern)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).partition(": ")[2]) from None
    return pattern


def pair(said: str) -> tuple[str, str]:
    """``key=value``; the value may hold further ``=``."""
    key, equals, value = said.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{said!r} is not KEY=VALUE")
    return text(key), text(value)


def mapping(option: str, pairs: list[tuple[str, str]]) -> dict[str, str]:
    """What an option said that may be given several times; no key twice, since one value would be lost."""
    found: dict[str, str] = {}
    for key, value in pairs:
        if key in found:
            raise CliError(f"{option}: {key!r} is given twice", USAGE)
        found[key] = value
    return found


def check_patterns(patterns: Iterable[str]) -> None:
    """Refuses what is a pattern nowhere; how deep one may be is for the broker to say."""
    for pattern in patterns:
        try:
            refusal = _native._pattern_refusal(pattern, _DEEPEST)
        except UnicodeEncodeError:
            refusal = f"{pattern[:_SHOWN]!r} is not Unicode, and no topic has that"
        if refusal is not None:
            # Commands that take nothing else take the broker's path so.
            is_path = Path(pattern).is_absolute()
            raise CliError(refusal + "; give the broker's path with --path" * is_path, USAGE)


def timestamp(said: str) -> Timestamp:
    """Nanoseconds since 1970, or ISO 8601 with an offset."""
    try:
        moment = Timestamp.from_ns(int(said)) if said.isascii() and said.isdigit() else Timestamp.fromisoformat(said)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{said!r} is no moment; give ISO 8601 with an offset, as in 2026-01-31T12:00:00Z, or nanoseconds"
        ) from None
    return moment
