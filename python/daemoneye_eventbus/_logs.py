"""Rust's log, as records of Python's `logging`.

Threads that Rust owns only fill a bounded ring and wake the loops; the first loop to look makes the records, on its own
thread. Rust is told the lowest level that a logger wants, so that what nobody wants is never formatted.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Any, Final

from daemoneye_eventbus import _native

__all__ = ["emit", "forget", "refresh"]

_PACKAGE: Final = "daemoneye_eventbus"
_AREAS: Final = ("broker", "client", "transport")
"""The modules of the core that log."""
_LOGGERS: Final = tuple(logging.getLogger(name) for name in (_PACKAGE, *(f"{_PACKAGE}.{area}" for area in _AREAS)))
_LEVELS: Final = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
_NOTHING: Final = logging.CRITICAL + 1
_PLACE: Final = "(rust)"
_THREAD: Final = 0
"""No thread's number. Formats of hosts, Django's among them, ask for a number here and for text elsewhere."""
_waiting: Final[deque[tuple[int, str, str, dict[str, Any], float | None]]] = deque()
"""Lines that were taken from Rust; each is removed before its record is handled, so that none is handled twice."""


def refresh() -> None:
    """Tells Rust what our loggers want now. Cheap: `logging` remembers the answers itself."""
    wanted = (level for level in _LEVELS if any(logger.isEnabledFor(level) for logger in _LOGGERS))
    _native._set_log_level(next(wanted, _NOTHING))


def emit() -> None:
    """Makes records of what waits. If a handler or filter of the host raises, the rest waits for the next call."""
    refresh()
    lines, lost = _native._take_logs()
    _waiting.extend(lines)
    if lost:
        text = f"{lost} lines of this log were lost, since no event loop took them"
        _waiting.append((logging.WARNING, "", text, {"lost": lost}, None))
    while _waiting:
        try:
            line = _waiting.popleft()
        except IndexError:
            # Another thread took the last one.
            return
        _record(*line)


def forget() -> None:
    """In a forked child: the lines are the parent's."""
    _waiting.clear()


def _record(level: int, area: str, text: str, fields: dict[str, Any], time: float | None) -> None:
    logger = logging.getLogger(f"{_PACKAGE}.{area}" if area else _PACKAGE)
    if not logger.isEnabledFor(level):
        return
    record = logger.makeRecord(logger.name, level, _PLACE, 0, text, (), None, _PLACE)
    for field, value in fields.items():
        # Not by `extra`, which raises where the host's factory of records has set one of these: that stays, and the
        # text has ours.
        record.__dict__.setdefault(field, value)
    if time is not None:
        # It happened in Rust, some time ago, perhaps in a thread that Python does not know.
        shift = time - record.created
        record.created = time
        record.msecs = time % 1 * 1000
        record.relativeCreated += shift * 1000
        record.thread, record.threadName = _THREAD, _PLACE
    logger.handle(record)
