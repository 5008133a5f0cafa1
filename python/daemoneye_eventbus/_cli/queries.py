"""Requests to a broker, each with a deadline."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from daemoneye_eventbus import BrokerStatistics, EventBusStatistics, PermissionRefused, ProtocolError
from daemoneye_eventbus._cli.exits import NO_BROKER, CliError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from daemoneye_eventbus import ClientInfo, EventBus

__all__ = ["clients", "statistics", "within"]

_SECONDS: Final = 5.0
T = TypeVar("T")


async def statistics(bus: EventBus) -> tuple[BrokerStatistics | EventBusStatistics, str | None]:
    """All that the broker tells this user: everything, or the five totals and why there is no more."""
    try:
        return await within(bus.broker_statistics()), None
    except (PermissionRefused, ProtocolError) as error:
        return await within(bus.statistics()), str(error)


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
