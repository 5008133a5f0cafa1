"""The options of a subscription's own queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from daemoneye_eventbus._checks import choice, integer

__all__ = ["QueueOptions"]


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """A subscription's queue: messages, bytes, and what it does when it is full."""

    queue_messages: int
    queue_bytes: int
    overflow: Literal["drop_oldest", "drop_newest", "block"]

    def check(self) -> None:
        """Raises ``TypeError`` or ``ValueError``, which names the option."""
        integer("queue_messages", self.queue_messages, 1, 2**63 - 1)
        integer("queue_bytes", self.queue_bytes, 1, 2**63 - 1)
        choice("overflow", self.overflow, "drop_oldest", "drop_newest", "block")
