"""A local event bus for security monitoring: collectors publish events, an agent and its tools subscribe to them.

    async with Broker(path) as broker, EventBus.from_broker(broker) as bus, bus.subscribe(ProcessEvent) as events:
        await bus.publish(ProcessEvent(pid=1234, name="sh"))
        received = await events.get()

In any other process, ``EventBus.connect(path)`` takes the place of ``from_broker``. ``daemoneye-eventbus --help`` lists
what there is for a shell.

Importing this loads little; each name loads what it needs when it is first asked for, asyncio included.
"""

from __future__ import annotations

import logging
import warnings
from importlib import import_module
from typing import TYPE_CHECKING

from daemoneye_eventbus._native import DEBUG_BUILD, __version__

if TYPE_CHECKING:
    from daemoneye_eventbus import errors as errors  # reachable without an import of its own, though no name of ours
    from daemoneye_eventbus import topics, wire
    from daemoneye_eventbus._broker import Broker
    from daemoneye_eventbus._bus import EventBus
    from daemoneye_eventbus._config import BrokerConfig, ClientConfig
    from daemoneye_eventbus._native import (
        BusEvent,
        ControlMessage,
        CorrelationMetadata,
        FilesystemEvent,
        FrozenMap,
        NetworkEvent,
        PerformanceEvent,
        ProcessEvent,
        TopicPattern,
        TriggerRequest,
    )
    from daemoneye_eventbus._rights import RateLimit, Rule
    from daemoneye_eventbus._subscription import Subscription
    from daemoneye_eventbus._text import os_bytes, os_text
    from daemoneye_eventbus._timestamp import Timestamp
    from daemoneye_eventbus._types import (
        BrokerStatistics,
        ClientInfo,
        CollectionEvent,
        CorrelationFilter,
        EventBusStatistics,
        EventFilter,
        EventSubscription,
        Sender,
        SourceCaps,
    )
    from daemoneye_eventbus.errors import (
        AuthenticationFailed,
        BrokerAlreadyRunning,
        BrokerBusy,
        ConnectionClosed,
        ConnectionLost,
        ConnectTimeout,
        DecodeError,
        EventBusError,
        ForkedProcess,
        FrameTooLarge,
        PathRefused,
        PatternError,
        PermissionRefused,
        ProtocolError,
        PublishNotSupported,
        PublishTimeout,
        SubscriptionClosed,
        SubscriptionRefused,
        TopicError,
        TransportError,
        WouldBlock,
        WrongLoop,
    )

__all__ = [
    "AuthenticationFailed",
    "Broker",
    "BrokerAlreadyRunning",
    "BrokerBusy",
    "BrokerConfig",
    "BrokerStatistics",
    "BusEvent",
    "ClientConfig",
    "ClientInfo",
    "CollectionEvent",
    "ConnectTimeout",
    "ConnectionClosed",
    "ConnectionLost",
    "ControlMessage",
    "CorrelationFilter",
    "CorrelationMetadata",
    "DecodeError",
    "EventBus",
    "EventBusError",
    "EventBusStatistics",
    "EventFilter",
    "EventSubscription",
    "FilesystemEvent",
    "ForkedProcess",
    "FrameTooLarge",
    "FrozenMap",
    "NetworkEvent",
    "PathRefused",
    "PatternError",
    "PerformanceEvent",
    "PermissionRefused",
    "ProcessEvent",
    "ProtocolError",
    "PublishNotSupported",
    "PublishTimeout",
    "RateLimit",
    "Rule",
    "Sender",
    "SourceCaps",
    "Subscription",
    "SubscriptionClosed",
    "SubscriptionRefused",
    "Timestamp",
    "TopicError",
    "TopicPattern",
    "TransportError",
    "TriggerRequest",
    "WouldBlock",
    "WrongLoop",
    "__version__",
    "os_bytes",
    "os_text",
    "topics",
    "wire",
]

_HOMES = {
    "_broker": ("Broker",),
    "_bus": ("EventBus",),
    "_config": ("BrokerConfig", "ClientConfig"),
    "_fields": (
        "BusEvent",
        "ControlMessage",
        "CorrelationMetadata",
        "FilesystemEvent",
        "NetworkEvent",
        "PerformanceEvent",
        "ProcessEvent",
        "TriggerRequest",
    ),
    "_native": ("FrozenMap", "TopicPattern"),
    "_rights": ("RateLimit", "Rule"),
    "_subscription": ("Subscription",),
    "_text": ("os_bytes", "os_text"),
    "_timestamp": ("Timestamp",),
    "_types": (
        "BrokerStatistics",
        "ClientInfo",
        "CollectionEvent",
        "CorrelationFilter",
        "EventBusStatistics",
        "EventFilter",
        "EventSubscription",
        "Sender",
        "SourceCaps",
    ),
}
"""Where names live. What is in none of these is an error, or a module."""
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = frozenset({"errors", "topics", "wire"})


# Type checkers read the imports above; with this function every misspelt name would be fine with them.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            return import_module(f"{__name__}.{name}")
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOME_OF.get(name, 'errors')}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})


# Quiet unless the program configures logging.
logging.getLogger(__name__).addHandler(logging.NullHandler())

if DEBUG_BUILD:
    warnings.warn(
        "daemoneye_eventbus is a debug build: do not judge its speed; build with `maturin develop --release`",
        RuntimeWarning,
        stacklevel=2,
    )
