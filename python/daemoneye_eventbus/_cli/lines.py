"""A message as one line for people: time, topic, correlation, kind, then ``name=value`` of what is there."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from daemoneye_eventbus import ControlMessage
from daemoneye_eventbus._cli.kinds import Received, kind_of
from daemoneye_eventbus._cli.output import quoted

__all__ = ["line"]

_LONGEST: Final = 200
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# What an event is called stands first and without its name.
_TITLES: Final = frozenset({"name", "connection_id", "path", "metric_name", "request_id"})


def line(received: Received) -> str:
    """The line, without its end. Long values are cut; ``--json`` has them whole."""
    if isinstance(received, ControlMessage):
        words = [f"{len(received.payload)} bytes", *_value("payload", received.payload)]
        time = received.timestamp_ns
    else:
        words = list(_words(received.event))
        time = received.bus_timestamp_ns
    if received.dropped_before:
        words.append(f"lost_before={received.dropped_before}")
    head = [_time(time), quoted(received.topic), quoted(_cut(received.correlation_id)), kind_of(received)]
    return " ".join([*head, *words])


def _words(event: Any) -> list[str]:
    title: list[str] = []
    rest: list[str] = []
    for field in fields(event):
        if field.name == "start_time":
            if event.start_time_ns is not None:
                rest.append(f"start_time={_time(event.start_time_ns)}")
            continue
        value = getattr(event, field.name)
        if field.name in _TITLES:
            title.append(quoted(_cut(value)))
        else:
            rest.extend(_value(field.name, value))
    return title + rest


def _value(name: str, value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, bytes):
        return [f"{name}={quoted(_cut(value[: _LONGEST + 1].decode('utf-8', 'backslashreplace')))}"] if value else []
    if isinstance(value, str):
        return [f"{name}={quoted(_cut(value))}"]
    if hasattr(value, "items"):
        return [f"{quoted(f'{name}.{_cut(key)}')}={quoted(_cut(item))}" for key, item in value.items()]
    return [f"{name}={value}"]


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "\N{HORIZONTAL ELLIPSIS}"


def _time(ns: int) -> str:
    try:
        moment = _EPOCH + timedelta(microseconds=ns // 1000)
    except OverflowError:
        return f"{ns}ns"
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
