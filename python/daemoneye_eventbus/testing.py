"""Fixtures and a helper for tests of programs that use the bus. PYTEST_DONT_REWRITE

Put ``pytest_plugins = ["daemoneye_eventbus.testing"]`` into the ``conftest.py`` at the root of your tests. Nothing else
of the package imports this module, and only it needs pytest and pytest-asyncio (``daemoneye_eventbus[testing]``).
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import uuid
from collections.abc import AsyncIterator  # tools resolve the fixtures' types
from pathlib import Path
from typing import Final, TypeVar

try:
    import pytest
    import pytest_asyncio
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        f"daemoneye_eventbus.testing needs {_missing.name}; install it with: pip install 'daemoneye_eventbus[testing]'",
        name=_missing.name,
    ) from _missing

from daemoneye_eventbus import Broker, BrokerConfig, EventBus, Subscription
from daemoneye_eventbus._checks import integer
from daemoneye_eventbus._deadline import seconds

__all__ = ["collect_events", "eventbus_broker", "eventbus_broker_config", "eventbus_bus"]

T = TypeVar("T")

# The shortest limit of any system is 103 bytes for the whole path.
_LONGEST_DIRECTORY: Final = 80


@pytest.fixture
def eventbus_broker_config() -> BrokerConfig:
    """The configuration of `eventbus_broker`. Define a fixture of this name to change it."""
    return BrokerConfig()


@pytest_asyncio.fixture
async def eventbus_broker(eventbus_broker_config: BrokerConfig) -> AsyncIterator[Broker]:
    """A broker that listens at a short path of its own, configured by `eventbus_broker_config`.

    Other processes connect to ``eventbus_broker.path``.
    """
    if os.name == "nt":
        async with Broker(instance=f"test-{uuid.uuid4()}", config=eventbus_broker_config) as broker:
            yield broker
        return
    # pytest's tmp_path repeats the test's name and soon is too long for a socket.
    long = len(os.fsencode(tempfile.gettempdir())) > _LONGEST_DIRECTORY
    with tempfile.TemporaryDirectory(prefix="deb-", dir="/tmp" if long else None) as directory:  # noqa: S108  # 0700
        async with Broker(Path(directory) / "bus.sock", config=eventbus_broker_config) as broker:
            yield broker


@pytest_asyncio.fixture
async def eventbus_bus(eventbus_broker: Broker) -> AsyncIterator[EventBus]:
    """A bus in the process of `eventbus_broker`."""
    async with EventBus.from_broker(eventbus_broker) as bus:
        yield bus


async def collect_events(subscription: Subscription[T], count: int, timeout: float = 5.0) -> list[T]:
    """The next ``count`` messages, or an ``AssertionError`` that shows those that came within ``timeout`` seconds.

    More may be queued behind them: read them, or check ``subscription.pending``.
    """
    count = integer("count", count, 0, 2**63 - 1)
    timeout = seconds("timeout", timeout)
    # One deadline for all: a wait for each would let a slow publisher hide a hanging test.
    loop = asyncio.get_running_loop()
    ends = loop.time() + timeout
    got: list[T] = []
    while len(got) < count:
        try:
            got += await subscription.get_many(count - len(got), max(ends - loop.time(), 0.0))
        except TimeoutError:
            came = "".join(f"\n  {message!r}" for message in got)
            raise AssertionError(
                f"{len(got)} of {count} messages came within {timeout:g} s, "
                f"and {subscription.dropped} were dropped{':' if got else ''}{came}"
            ) from None
    return got
