"""The asyncio border: what this package alone uses of the native half. The public names stand in front of it."""

from daemoneye_eventbus._native import (
    Address,
    BrokerCore,
    Link,
    LocalLink,
    LoopWaker,
    Operation,
    PartialPublish,
    PendingReply,
    Source,
    Waiter,
)
from daemoneye_eventbus._native import EventBus as BusCore
from daemoneye_eventbus._native import Subscription as SubscriptionCore

__all__ = [
    "Address",
    "BrokerCore",
    "BusCore",
    "Link",
    "LocalLink",
    "LoopWaker",
    "Operation",
    "PartialPublish",
    "PendingReply",
    "Source",
    "SubscriptionCore",
    "Waiter",
]
