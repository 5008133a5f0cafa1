"""What Rust has to say, as records of Python's `logging`.

Threads that Rust owns only fill a bounded ring and ring the loops; the first loop to look makes the records, on its own
thread. Which level anybody wants is asked here and told to Rust, so that what nobody wants is never written.
"""

from __future__ import annotations

import logging
from typing import Final

from daemoneye_eventbus import _native

__all__ = ["emit", "refresh"]

_PACKAGE: Final = "daemoneye_eventbus"
_AREAS: Final = ("broker", "client", "transport")
"""The rooms of the core that have something to say."""
_LOGGERS: Final = tuple(logging.getLogger(name) for name in (_PACKAGE, *(f"{_PACKAGE}.{area}" for area in _AREAS)))
_LEVELS: Final = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
_NOTHING: Final = logging.CRITICAL + 1


def refresh() -> None:
    """Tells Rust what our loggers want now. Cheap: `logging` remembers the answers itself."""
    wanted = (level for level in _LEVELS if any(logger.isEnabledFor(level) for logger in _LOGGERS))
    _native._set_log_level(next(wanted, _NOTHING))


def emit() -> None:
    """Hands over what waits."""
    refresh()
    lines, lost = _native._take_logs()
    for level, area, text, fields, time in lines:
        _record(level, area, text, fields, time)
    if lost:
        _record(
            logging.WARNING, "", f"{lost} lines of this log were lost, since no event loop took them", {"lost": lost}
        )


def _record(level: int, area: str, text: str, fields: dict[str, object], time: float | None = None) -> None:
    logger = logging.getLogger(f"{_PACKAGE}.{area}" if area else _PACKAGE)
    if not logger.isEnabledFor(level):
        return
    record = logger.makeRecord(logger.name, level, "(rust)", 0, text, (), None, extra=fields)
    if time is not None:
        # It happened in a thread of Rust, some time ago.
        shift = time - record.created
        record.created = time
        record.msecs = time % 1 * 1000
        record.relativeCreated += shift * 1000
        record.thread = record.threadName = None
    logger.handle(record)
