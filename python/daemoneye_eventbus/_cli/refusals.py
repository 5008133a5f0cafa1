"""Why the broker refused what was published. It says so to the client, whose log is the one place that has it."""

from __future__ import annotations

import logging
from typing import Final, Self

from daemoneye_eventbus import _logs
from daemoneye_eventbus._cli.exits import ERROR, REFUSED, CliError
from daemoneye_eventbus._cli.wording import in_options

__all__ = ["Refusals"]

_LOGGER: Final = "daemoneye_eventbus.client"
_RIGHTS: Final = "rights"


class Refusals(logging.Handler):
    """Those that are logged, by reason; of several with one reason the first."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._why: dict[str, str] = {}

    @classmethod
    def watched(cls) -> Self:
        """From now on."""
        found = cls()
        logging.getLogger(_LOGGER).addHandler(found)
        return found

    def emit(self, record: logging.LogRecord) -> None:
        # A line about refused messages counts some; so does that of a bus that was forgotten, which no command does.
        if hasattr(record, "messages"):
            why = record.getMessage().partition(": ")[2].partition(" reason=")[0]
            self._why.setdefault(getattr(record, "reason", ""), why)

    def error(self, count: int) -> CliError:
        """That so many were refused, and why."""
        _logs.emit()
        why = in_options("; ".join(self._why.values())) or "its log says why"
        code = REFUSED if _RIGHTS in self._why else ERROR
        return CliError(f"the broker refused {count} of what was published: {why}", code)
