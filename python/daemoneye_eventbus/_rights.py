"""Who may publish and subscribe what, and how fast: the parts of a broker's configuration that name clients."""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003  # tools that resolve the fields' types look for it here
from dataclasses import dataclass
from typing import Final, Literal

from daemoneye_eventbus import _checks
from daemoneye_eventbus._checks import choice, flags, items, number, only_elsewhere, place, sids, store, text, uids

__all__ = ["RateLimit", "Rule"]

_RATES: Final = (0.001, 1e12)
_BURSTS: Final = (0.05, 3600.0)


def _texts(owner: object, *names: str) -> None:
    for name in names:
        where = place(owner, name)
        given = items(where, getattr(owner, name), "a sequence of str")
        store(owner, name, tuple(text(where, one) for one in given))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What some clients may, or may not, publish and subscribe to.

    Of the rules in `BrokerConfig.rules` that apply to a client, the first with a pattern that matches a topic decides.
    A subscription is allowed if every topic that it can match is. If no rule decides, the broker's own uid may do
    everything, and others everything but ``control.#``.

    Attributes:
        uids: The rule applies to these uids; ``None`` = to all, buses in the broker's own process included. Unix
            only.
        sids: The same on Windows, where rules use the whole SID of a user: ``S-1-5-21-...-1001``.
        tokens: The rule applies only to those who proved a token with one of these names (`BrokerConfig.token`);
            ``None`` = to all.
        publish: Patterns of topics that the rule allows or forbids to publish to.
        subscribe: Patterns of topics that the rule allows or forbids to subscribe to.
        allow: Whether the rule allows or forbids.
    """

    uids: Sequence[int] | None = None
    sids: Sequence[str] | None = None
    tokens: Sequence[str] | None = None
    publish: Sequence[str] = ()
    subscribe: Sequence[str] = ()
    allow: bool = True

    def __post_init__(self) -> None:
        if self.uids is not None:
            store(self, "uids", uids("Rule.uids", self.uids))
        if self.sids is not None:
            store(self, "sids", sids("Rule.sids", self.sids))
        if self.tokens is not None:
            _texts(self, "tokens")
        for name in ("uids", "sids", "tokens"):
            if getattr(self, name) == ():
                raise ValueError(f"Rule.{name}: an empty list names nobody; leave it None where everybody is meant")
        if _checks.WINDOWS:
            # Domain and machine may have users of one number, and a rule for one of them would be one for both.
            only_elsewhere(self, "uids", instead="sids")
        else:
            only_elsewhere(self, "sids", instead="uids")
        _texts(self, "publish", "subscribe")
        flags(self, "allow")
        if not self.publish and not self.subscribe:
            raise ValueError("Rule.publish: neither publish nor subscribe, so the rule says nothing; name patterns")


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """How fast one client, or all clients of one uid together, may publish and connect. Buses in the broker's own
    process are not limited.

    A publisher with ``congestion="block"`` that exceeds its rate is not read until it is below the rate again, and
    loses nothing. One with ``"drop"`` has its excess messages refused and counted as ``rate_limit``. A connection above
    the limit is told that the broker is busy, and counted as ``connect_rate``.

    Attributes:
        per: What is counted together: one connection, or all of one uid.
        messages_per_second: Messages published; ``None`` = not limited.
        bytes_per_second: Bytes of the frames published; ``None`` = not limited.
        connects_per_second: Connections opened, for ``per="uid"`` only; ``None`` = not limited.
        burst: Seconds' worth of each rate that may come at once after a pause, 0.05 to 3600; at least one message.
    """

    per: Literal["client", "uid"] = "client"
    messages_per_second: float | None = None
    bytes_per_second: float | None = None
    connects_per_second: float | None = None
    burst: float = 1.0

    def __post_init__(self) -> None:
        choice("RateLimit.per", self.per, "client", "uid")
        names = ("messages_per_second", "bytes_per_second", "connects_per_second")
        for name in names:
            if getattr(self, name) is not None:
                self._keep(name, *_RATES)
        self._keep("burst", *_BURSTS)
        if all(getattr(self, name) is None for name in names):
            raise ValueError("RateLimit.messages_per_second: no rate at all limits nothing; name one")
        if self.per == "client" and self.connects_per_second is not None:
            raise ValueError('RateLimit.connects_per_second: needs per="uid", since a client is one connection')

    def _keep(self, name: str, low: float, high: float) -> None:
        store(self, name, number(place(self, name), getattr(self, name), low, high))
