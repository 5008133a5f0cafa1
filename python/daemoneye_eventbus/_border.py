"""The asyncio border: what this package alone uses of the native half. The public names stand in front of it."""

from daemoneye_eventbus._native import (
    Address,
    BrokerCore,
    Doorbell,
    Link,
    Operation,
    Pending,
    PortHandle,
    Source,
    Ticket,
    Waiter,
)
from daemoneye_eventbus._native import EventBus as BusCore
from daemoneye_eventbus._native import Subscription as SubscriptionCore

__all__ = [
    "Address",
    "BrokerCore",
    "BusCore",
    "Doorbell",
    "Link",
    "Operation",
    "Pending",
    "PortHandle",
    "Source",
    "SubscriptionCore",
    "Ticket",
    "Waiter",
]
