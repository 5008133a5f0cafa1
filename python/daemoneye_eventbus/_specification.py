"""What `EventBus.subscribe` was asked, as one `EventSubscription`."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from daemoneye_eventbus._checks import wrong_type
from daemoneye_eventbus._native import (
    FilesystemEvent,
    NetworkEvent,
    PerformanceEvent,
    ProcessEvent,
    TriggerRequest,
)
from daemoneye_eventbus._types import CorrelationFilter, EventFilter, EventSubscription

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["specification"]

_FAMILIES: Final[dict[type, tuple[str, str]]] = {
    ProcessEvent: ("process", "events.process.*"),
    NetworkEvent: ("network", "events.network.*"),
    FilesystemEvent: ("filesystem", "events.filesystem.*"),
    PerformanceEvent: ("performance", "events.performance.*"),
    TriggerRequest: ("trigger", "control.trigger.request"),
}
"""By event type: the word that filters use, and the pattern that it stands for."""


def specification(
    what: Sequence[Any],
    filters: tuple[EventFilter | None, CorrelationFilter | None],
    *,
    include_control: bool,
) -> EventSubscription:
    """One `EventSubscription` out of everything that `subscribe` takes."""
    if not what:
        raise ValueError("subscribe: give patterns, event types or an EventSubscription")
    event_filter, correlation_filter = filters
    if isinstance(what[0], EventSubscription):
        nothing = event_filter is None and correlation_filter is None and include_control is False
        if len(what) > 1 or not nothing:
            raise ValueError("subscribe: an EventSubscription says everything itself; give nothing besides it")
        spec = what[0]
        if not spec.topic_patterns and not spec.capabilities.event_types:
            raise ValueError("subscribe: the EventSubscription has neither topic_patterns nor capabilities")
        return spec
    patterns: list[str] = []
    kinds: list[str] = []
    for item in what:
        if isinstance(item, str):
            patterns.append(item)
        elif isinstance(item, type) and item in _FAMILIES:
            kind, pattern = _FAMILIES[item]
            kinds.append(kind)
            patterns.append(pattern)
        else:
            raise _neither(item)
    asked = EventSubscription(
        subscriber_id=str(uuid.uuid4()),
        event_filter=event_filter,
        correlation_filter=correlation_filter,
        topic_patterns=list(dict.fromkeys(patterns)),
        include_control=include_control,
    )
    if len(kinds) < len(what):
        return asked
    # Of what its constructor has found to be a filter.
    return replace(asked, event_filter=_only(kinds, asked.event_filter, include_control=include_control))


def _neither(item: object) -> TypeError:
    """The error for what is no pattern and no event type."""
    if isinstance(item, type):
        known = ", ".join(kind.__name__ for kind in _FAMILIES)
        advice = 'for control messages give a pattern such as "control.#" and include_control=True'
        return TypeError(f"subscribe: the class {item.__name__} is none of the event types {known}; {advice}")
    return wrong_type("subscribe", "patterns or event types, each an argument of its own", item)


def _only(kinds: list[str], event_filter: EventFilter | None, *, include_control: bool) -> EventFilter | None:
    if event_filter is None or not event_filter.event_types:
        # A filter for types excludes what has none. Of their topics, only that of trigger requests carries control.
        if include_control and "trigger" in kinds:
            return event_filter
        return replace(event_filter or EventFilter(), event_types=kinds)
    both = [kind for kind in kinds if kind in event_filter.event_types]
    if not both:
        raise ValueError("subscribe: event_filter.event_types excludes every event type subscribed to")
    return replace(event_filter, event_types=both)
