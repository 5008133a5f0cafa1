"""A local security event bus."""

from __future__ import annotations

import logging
import warnings

from daemoneye_eventbus import _fields, topics, wire
from daemoneye_eventbus._broker import Broker
from daemoneye_eventbus._bus import EventBus
from daemoneye_eventbus._config import BrokerConfig, ClientConfig
from daemoneye_eventbus._native import (
    DEBUG_BUILD,
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
    __version__,
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

_fields.install()

# Quiet unless the program configures logging.
logging.getLogger(__name__).addHandler(logging.NullHandler())

if DEBUG_BUILD:
    warnings.warn(
        "daemoneye_eventbus is a debug build: do not judge its speed; build with `maturin develop --release`",
        RuntimeWarning,
        stacklevel=2,
    )
