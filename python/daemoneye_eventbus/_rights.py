"""Who may publish and subscribe what, and how fast: the parts of a broker's configuration that name clients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast

__all__ = ["RateLimit", "Rule"]

_LARGEST_UID: Final = 2**32 - 2
_RATES: Final = (0.001, 1e12)
_BURSTS: Final = (0.05, 3600.0)


def _tuple(owner: object, name: str, kind: type, *, optional: bool = False) -> None:
    """Keeps a sequence of ``kind`` as a tuple."""
    value = getattr(owner, name)
    where = f"{type(owner).__name__}.{name}"
    if value is None and optional:
        return
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise TypeError(f"{where}: expected a sequence of {kind.__name__}, got {type(value).__name__}")
    items = tuple(cast("Sequence[object]", value))
    for item in items:
        if not isinstance(item, kind) or isinstance(item, bool):
            raise TypeError(f"{where}: expected {kind.__name__}, got {type(item).__name__}")
    if optional and not items:
        raise ValueError(f"{where}: an empty list names nobody; leave it None where everybody is meant")
    object.__setattr__(owner, name, items)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What some clients may publish and subscribe, or may not.

    Of the rules in `BrokerConfig.rules` that name a client, the first with a pattern that matches a topic decides. A
    subscription is allowed if every topic that it can match is. Where no rule decides, the broker's own uid may do
    everything, and others everything but ``control.#``.
    """

    uids: Sequence[int] | None = None
    """Whom it names: these uids; ``None`` = all, buses in the broker's own process included."""
    tokens: Sequence[str] | None = None
    """And of them those who proved a token of one of these names (`BrokerConfig.token`); ``None`` = all."""
    publish: Sequence[str] = ()
    """Patterns of topics to publish."""
    subscribe: Sequence[str] = ()
    """Patterns of topics to subscribe."""
    allow: bool = True
    """Whether it allows or forbids them."""

    def __post_init__(self) -> None:
        _tuple(self, "uids", int, optional=True)
        for uid in self.uids or ():
            if not 0 <= uid <= _LARGEST_UID:
                raise ValueError(f"Rule.uids: a uid is between 0 and {_LARGEST_UID}")
        _tuple(self, "tokens", str, optional=True)
        _tuple(self, "publish", str)
        _tuple(self, "subscribe", str)
        if not isinstance(self.allow, bool):
            raise TypeError(f"Rule.allow: expected bool, got {type(self.allow).__name__}")
        if not self.publish and not self.subscribe:
            raise ValueError("Rule.publish: neither publish nor subscribe, so the rule says nothing; name patterns")


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """How fast one client, or all clients of one uid together, may publish and connect. Buses in the broker's own
    process are not limited.

    A publisher above its rate with ``congestion="block"`` is not read until it is below again, and loses nothing; one
    with ``"drop"`` has what is above refused and counted as ``rate_limit``. A connection too many is told that the
    broker is busy, and counted as ``connect_rate``.
    """

    per: Literal["client", "uid"] = "client"
    """What is counted together: one connection, or all of one uid."""
    messages_per_second: float | None = None
    """Messages published; ``None`` = not limited."""
    bytes_per_second: float | None = None
    """Bytes of the frames published; ``None`` = not limited."""
    connects_per_second: float | None = None
    """Connections opened, for ``per="uid"`` only; ``None`` = not limited."""
    burst: float = 1.0
    """Seconds' worth of each rate that may come at once after a pause, 0.05 to 3600; one message at least."""

    def __post_init__(self) -> None:
        if self.per not in ("client", "uid"):
            raise ValueError(f'RateLimit.per: must be "client" or "uid", got {self.per!r}')
        names = ("messages_per_second", "bytes_per_second", "connects_per_second")
        for name in names:
            if getattr(self, name) is not None:
                self._number(name, *_RATES)
        self._number("burst", *_BURSTS)
        if all(getattr(self, name) is None for name in names):
            raise ValueError("RateLimit.messages_per_second: no rate at all limits nothing; name one")
        if self.per == "client" and self.connects_per_second is not None:
            raise ValueError('RateLimit.connects_per_second: needs per="uid", since a client is one connection')

    def _number(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise TypeError(f"RateLimit.{name}: expected a number, got {type(value).__name__}")
        # NaN is within no limits either.
        if not low <= value <= high:
            raise ValueError(f"RateLimit.{name}: must be between {low:g} and {high:g}")
        object.__setattr__(self, name, float(value))
