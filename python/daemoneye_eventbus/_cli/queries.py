"""Requests to a broker, each with a deadline."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from daemoneye_eventbus import BrokerStatistics, EventBusStatistics, PermissionRefused, ProtocolError
from daemoneye_eventbus._cli.exits import NO_BROKER, CliError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from daemoneye_eventbus import ClientInfo, EventBus

__all__ = ["Totals", "clients", "within"]

_SECONDS: Final = 5.0
T = TypeVar("T")


class Totals:
    """What a broker tells this user again and again.

    Each question that it refuses counts there as an attempt at what is not allowed, and hides others in its log: what
    it has refused is not asked again.
    """

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._refusal: str | None = None

    async def ask(self) -> tuple[BrokerStatistics | EventBusStatistics, str | None]:
        """Everything, or the five totals and why there is no more."""
        if self._refusal is None:
            try:
                return await within(self._bus.broker_statistics()), None
            except (PermissionRefused, ProtocolError) as error:
                self._refusal = str(error)
        return await within(self._bus.statistics()), self._refusal

    def ask_anew(self) -> None:
        """It may be another broker now."""
        self._refusal = None


async def clients(bus: EventBus) -> list[ClientInfo]:
    """Who is connected; raises for a user who is not told."""
    return await within(bus.clients())


async def within(answer: Awaitable[T]) -> T:
    """The answer. A broker that accepts connections and answers nothing counts as none."""
    try:
        async with asyncio.timeout(_SECONDS):
            return await answer
    except TimeoutError:
        raise CliError(f"the broker did not answer within {_SECONDS:g} s", NO_BROKER) from None
