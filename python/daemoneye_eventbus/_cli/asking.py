"""Statistics of a broker, asked with a deadline."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from daemoneye_eventbus._cli.exits import NO_BROKER, CliError

if TYPE_CHECKING:
    from daemoneye_eventbus import EventBus, EventBusStatistics

__all__ = ["statistics"]

_SECONDS: Final = 5.0


async def statistics(bus: EventBus) -> EventBusStatistics:
    """The broker's numbers. One that accepts connections and answers nothing is no broker."""
    try:
        async with asyncio.timeout(_SECONDS):
            return await bus.statistics()
    except TimeoutError:
        raise CliError(f"the broker gave no statistics within {_SECONDS:g} s", NO_BROKER) from None
