"""What tools that resolve type hints at run time find: those of every public name, whoever defines it."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

import daemoneye_eventbus
from daemoneye_eventbus import EventBus

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = daemoneye_eventbus.__name__
MODULES = ["daemoneye_eventbus", *(f"daemoneye_eventbus.{name}" for name in ("topics", "wire", "errors", "testing"))]


def public() -> Iterator[tuple[str, object]]:
    for home in MODULES:
        module = importlib.import_module(home)
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, type) or inspect.isroutine(value):
                yield f"{home}.{name}", value
    # What `connect`, `from_broker` and `subscribe` return.
    opening = EventBus.connect("/nowhere")
    yield "Opening", type(opening)
    opening.close()


def methods(cls: type) -> Iterator[tuple[str, object]]:
    """Its own and those of the classes of ours that it derives from."""
    for owner in cls.__mro__:
        if not owner.__module__.startswith(PACKAGE):
            continue
        for name, member in vars(owner).items():
            if name.startswith("_") and not name.startswith("__"):
                continue
            if isinstance(member, property):
                yield name, member.fget
            elif isinstance(member, classmethod | staticmethod):
                yield name, member.__func__
            elif inspect.isfunction(member):
                yield name, member


@pytest.mark.parametrize(("name", "value"), [*public()], ids=lambda value: value if isinstance(value, str) else "")
def test_hints_of_public_names_resolve(name, value):
    failed = []
    members = [(name, value), *(methods(value) if isinstance(value, type) else ())]
    for member, function in members:
        try:
            typing.get_type_hints(function)
        except Exception as error:
            failed.append(f"{member}: {error}")
    assert failed == []


def test_they_are_the_types_that_a_caller_meets():
    hints = typing.get_type_hints(EventBus.from_broker)
    assert hints["broker"] is daemoneye_eventbus.Broker
    assert typing.get_type_hints(EventBus.publish_many)["return"] is not None
    literals = typing.get_args(typing.get_type_hints(EventBus.state.fget)["return"])
    states = {state for literal in literals for state in typing.get_args(literal)}
    assert states == {"connecting", "connected", "reconnecting", "closed"}


@pytest.mark.parametrize(
    "record", [value for _, value in public() if dataclasses.is_dataclass(value)], ids=lambda record: record.__name__
)
def test_hints_of_a_record_are_those_of_its_fields(record):
    """Of the native ones there were none, so tools that make or check objects by their fields saw no field."""
    fields = dataclasses.fields(record)
    hints = typing.get_type_hints(record)
    assert fields
    assert [field.name for field in fields] == [name for name in hints if name in {field.name for field in fields}]
    assert not any(isinstance(hint, str | typing.ForwardRef) for hint in hints.values())


def test_a_correlation_always_has_a_root():
    made = daemoneye_eventbus.CorrelationMetadata("c")
    assert typing.get_type_hints(type(made))["root_correlation_id"] is type(made.root_correlation_id)


def test_hints_of_a_process_event():
    assert typing.get_type_hints(daemoneye_eventbus.ProcessEvent) == {
        "pid": int,
        "name": str,
        "command_line": str | None,
        "executable_path": str | None,
        "ppid": int | None,
        "start_time": daemoneye_eventbus.Timestamp | None,
        "metadata": Mapping[str, str],
    }
