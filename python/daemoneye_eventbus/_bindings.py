"""The native classes that only this package uses. Public classes derive from them or hold them.

Beside `_native`, since one stub of both would have more than 500 lines.
"""

from daemoneye_eventbus._native import (
    Address,
    BrokerCore,
    Link,
    LocalLink,
    LoopWaker,
    Operation,
    PendingReply,
    PublishProgress,
    Source,
    TimestampCore,
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
    "PendingReply",
    "PublishProgress",
    "Source",
    "SubscriptionCore",
    "TimestampCore",
    "Waiter",
]
