"""``Timestamp``: a ``datetime`` in UTC that carries nanoseconds.

It is what ``datetime`` is, plus the 0 to 999 nanoseconds beyond its microsecond. Sums with a ``timedelta`` keep them; a
difference of two is a ``timedelta`` and has microseconds only (subtract ``ns`` for the exact one). What would leave UTC
gives a plain ``datetime``.

Its operators are native, as those of a ``datetime`` are (``TimestampCore``); here is what they leave to ``datetime``.
"""

from __future__ import annotations

import datetime as dt
import operator
import re
import time
from datetime import UTC, datetime, tzinfo
from typing import Any, ClassVar, Final, Self, SupportsIndex

from daemoneye_eventbus._bindings import TimestampCore
from daemoneye_eventbus._checks import integer, wrong_type

__all__ = ["Timestamp"]

_NANOSECONDS: Final = 1000
# A moment that is nanoseconds behind its microsecond, compared by that.
_BEHIND: Final = {"__le__": "__lt__", "__gt__": "__ge__"}
# Of the time: an offset may have one as well.
_FRACTION = re.compile(
    r"(?:\d{4}-\d\d-\d\d|\d{8}|\d{4}-?W\d\d(?:-?\d)?).(?:\d\d:\d\d:\d\d|\d{6})[.,]\d{6}(\d+)", re.ASCII | re.DOTALL
)


class Timestamp(TimestampCore, datetime):
    """A moment in UTC, to the nanosecond.

    Equal to a plain ``datetime`` only if its nanoseconds are whole microseconds. ``Timestamp.from_ns(n)`` and ``ns``
    count from 1970; ``nanosecond`` is the part beyond the microsecond.
    """

    __slots__ = ("_nanosecond",)
    _nanosecond: int
    min: ClassVar[Timestamp]  # pyright: ignore[reportIncompatibleVariableOverride]  # nobody sets it
    """The first moment of the year 1."""
    max: ClassVar[Timestamp]  # pyright: ignore[reportIncompatibleVariableOverride]  # nobody sets it
    """The last nanosecond of the year 9999."""

    def __new__(
        cls,
        year: SupportsIndex,
        month: SupportsIndex,
        day: SupportsIndex,
        hour: SupportsIndex = 0,
        minute: SupportsIndex = 0,
        second: SupportsIndex = 0,
        microsecond: SupportsIndex = 0,
        tzinfo: tzinfo | None = UTC,
        *,
        fold: int = 0,
        nanosecond: int = 0,
    ) -> Self:
        """Make the moment of these parts; ``tzinfo`` can only be UTC."""
        if tzinfo is not UTC:
            raise ValueError("tzinfo: a Timestamp is in UTC; convert with Timestamp.of(value) from another zone")
        if type(nanosecond) is not int or not 0 <= nanosecond < _NANOSECONDS:
            nanosecond = integer("nanosecond", nanosecond, 0, _NANOSECONDS - 1)
        self = datetime.__new__(cls, year, month, day, hour, minute, second, microsecond, UTC, fold=fold)
        self._nanosecond = nanosecond
        return self

    @classmethod
    def of(cls, value: datetime) -> Self:
        """Make the moment that ``value``, an aware ``datetime``, means; a naive one is ``ValueError``.

        ``OverflowError`` where that lies beyond the years 1 to 9999 in UTC.
        """
        given: object = value
        if not isinstance(given, datetime):
            raise wrong_type("value", "datetime", value)
        if value.utcoffset() is None:
            raise ValueError("value: a naive datetime does not say which moment it means; give it a tzinfo")
        try:
            moment = datetime.astimezone(value, UTC)
        except OverflowError:
            raise OverflowError("value: lies beyond the years 1 to 9999 in UTC") from None
        return cls._of(moment, value._nanosecond if isinstance(value, Timestamp) else 0)

    @classmethod
    def now(cls, tz: tzinfo | None = UTC) -> Self:
        """Read the clock, in nanoseconds; ``tz`` can only be UTC."""
        if tz is not UTC:
            raise ValueError("tz: a Timestamp is in UTC; use datetime.now(tz) for another zone")
        return cls.from_ns(time.time_ns())

    @classmethod
    def today(cls) -> Self:
        """The same, for whoever expects it of a ``datetime``."""
        return cls.now()

    @classmethod
    def utcnow(cls) -> Self:
        """The same; of a ``datetime`` it would be naive."""
        return cls.now()

    @classmethod
    def fromtimestamp(cls, timestamp: float, tz: tzinfo | None = UTC) -> Self:
        """Make the moment ``timestamp`` seconds after 1970, to the microsecond; ``tz`` can only be UTC."""
        if tz is not UTC:
            raise ValueError("tz: a Timestamp is in UTC; use datetime.fromtimestamp(timestamp, tz) for another zone")
        return cls.of(datetime.fromtimestamp(timestamp, UTC))

    @classmethod
    def utcfromtimestamp(cls, t: float, /) -> Self:
        """Make the moment ``t`` seconds after 1970; of a ``datetime`` it would be naive."""
        return cls.fromtimestamp(t)

    @classmethod
    def combine(cls, date: dt.date, time: dt.time, tzinfo: tzinfo | None = None) -> Self:
        """Make the moment of ``date`` and ``time`` in the zone ``tzinfo``, else in that of ``time``, else in UTC."""
        return cls.of(datetime.combine(date, time, tzinfo or time.tzinfo or UTC))

    @classmethod
    def strptime(cls, date_string: str, format: str, /) -> Self:
        """Read ``date_string``, of which ``format`` says the zone too (``%z``), to the microsecond."""
        return cls.of(datetime.strptime(date_string, format))  # noqa: DTZ007  # which refuses a naive one

    @classmethod
    def fromisoformat(cls, date_string: str, /) -> Self:
        """Read ``date_string``, ISO 8601 with an offset; digits of its fraction beyond the ninth are dropped."""
        value = cls.of(datetime.fromisoformat(date_string))
        match = _FRACTION.match(date_string)
        return value if match is None else cls._of(value, int(match[1][:3].ljust(3, "0")))

    @property
    def nanosecond(self) -> int:
        """Nanoseconds beyond the microsecond, 0 to 999."""
        return self._nanosecond

    def replace(  # type: ignore[override]  # `nanosecond` is ours, and leaving UTC leaves the class
        self,
        year: SupportsIndex | None = None,
        month: SupportsIndex | None = None,
        day: SupportsIndex | None = None,
        hour: SupportsIndex | None = None,
        minute: SupportsIndex | None = None,
        second: SupportsIndex | None = None,
        microsecond: SupportsIndex | None = None,
        tzinfo: tzinfo | None = UTC,
        *,
        fold: int | None = None,
        nanosecond: int | None = None,
    ) -> datetime:
        """Change parts, ``nanosecond`` included.

        With a ``tzinfo`` other than UTC (``None`` included) the result is a plain ``datetime``.
        """
        given = {
            "year": year,
            "month": month,
            "day": day,
            "hour": hour,
            "minute": minute,
            "second": second,
            "microsecond": microsecond,
            "fold": fold,
        }
        changes: dict[str, Any] = {name: part for name, part in given.items() if part is not None}
        changed = self._plain().replace(tzinfo=tzinfo, **changes)
        if tzinfo is not UTC:
            return changed
        return type(self)._of(changed, self._nanosecond if nanosecond is None else nanosecond)

    def __replace__(self, /, **changes: Any) -> datetime:
        return self.replace(**changes)

    def astimezone(self, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # leaving UTC leaves the class
        """Give the same moment in the zone ``tz``, as a plain ``datetime`` to the microsecond."""
        return self if tz is UTC else self._plain().astimezone(tz)

    def isoformat(self, sep: str = "T", timespec: str = "auto") -> str:
        """Write ISO 8601 with ``sep`` between date and time.

        Nanoseconds appear if there are any, or with ``timespec="nanoseconds"``.
        """
        if timespec == "nanoseconds" or (timespec == "auto" and self._nanosecond):
            return f"{self._plain().isoformat(sep, 'microseconds')[:-6]}{self._nanosecond:03}+00:00"
        return self._plain().isoformat(sep, timespec)

    def __str__(self) -> str:
        return self.isoformat(" ")

    def __repr__(self) -> str:
        parts = [self.year, self.month, self.day, self.hour, self.minute, self.second, self.microsecond]
        while len(parts) > 3 and parts[-1] == 0:  # noqa: PLR2004  # a date has three parts
            parts.pop()
        texts = [str(part) for part in parts]
        if self._nanosecond:
            texts.append(f"nanosecond={self._nanosecond}")
        return f"Timestamp({', '.join(texts)})"

    def _compare(self, other: dt.date, name: str) -> Any:
        """Compare, by the operator ``name``, with a date, or with a ``datetime`` of another zone or a derived class."""
        if self._nanosecond:
            if name in {"__eq__", "__ne__"}:
                return name == "__ne__"
            name = _BEHIND.get(name, name)
        return getattr(operator, name)(self._plain(), other)

    def _subtract(self, other: datetime) -> Any:
        """Subtract a ``datetime`` of another zone or a derived class."""
        return self._plain() - other

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return type(self).from_ns, (self.ns,)


Timestamp.min = Timestamp(1, 1, 1)
Timestamp.max = Timestamp(9999, 12, 31, 23, 59, 59, 999_999, nanosecond=_NANOSECONDS - 1)
