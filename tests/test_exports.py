"""The names that programs are written against: all of them there, and no others."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import itertools
import os
import pkgutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

import daemoneye_eventbus
from daemoneye_eventbus import _native

NAMES = [
    "Broker",
    "BrokerConfig",
    "BrokerStatistics",
    "ClientInfo",
    "EventBus",
    "ClientConfig",
    "EventBusStatistics",
    "Subscription",
    "ProcessEvent",
    "NetworkEvent",
    "FilesystemEvent",
    "PerformanceEvent",
    "TriggerRequest",
    "CollectionEvent",
    "BusEvent",
    "ControlMessage",
    "CorrelationMetadata",
    "Timestamp",
    "FrozenMap",
    "os_text",
    "os_bytes",
    "EventSubscription",
    "SourceCaps",
    "RateLimit",
    "Rule",
    "Sender",
    "EventFilter",
    "CorrelationFilter",
    "TopicPattern",
    "EventBusError",
    "ConnectionClosed",
    "ConnectionLost",
    "SubscriptionClosed",
    "ConnectTimeout",
    "BrokerBusy",
    "BrokerAlreadyRunning",
    "PathRefused",
    "PermissionRefused",
    "AuthenticationFailed",
    "ProtocolError",
    "DecodeError",
    "FrameTooLarge",
    "TopicError",
    "PatternError",
    "SubscriptionRefused",
    "PublishTimeout",
    "PublishNotSupported",
    "WouldBlock",
    "WrongLoop",
    "ForkedProcess",
    "TransportError",
    "topics",
    "wire",
    "__version__",
]


def test_exactly_these_names_are_exported():
    assert sorted(daemoneye_eventbus.__all__) == sorted(NAMES)


def test_star_gives_them_all():
    given: dict[str, object] = {}
    exec("from daemoneye_eventbus import *", given)
    assert set(given) - {"__builtins__"} == set(NAMES)


def test_dir_shows_them():
    assert set(NAMES) <= set(dir(daemoneye_eventbus))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="daemoneye_eventbus.*NoSuchThing"):
        daemoneye_eventbus.NoSuchThing


@pytest.mark.limit(150)
def test_type_checkers_see_a_misspelt_name(tmp_path):
    (tmp_path / "misspelt.py").write_text("import daemoneye_eventbus as bus\nbus.errors\nbus.Brokr\n")
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, "--cache-dir", str(tmp_path), "."]
    done = subprocess.run(mypy, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert 'misspelt.py:3: error: Module has no attribute "Brokr"' in done.stdout
    assert "Found 1 error" in done.stdout


@pytest.mark.parametrize("module", ["topics", "wire", "errors", "testing"])
def test_modules_have_what_they_say(module):
    loaded = importlib.import_module(f"daemoneye_eventbus.{module}")
    assert sorted(set(loaded.__all__)) == sorted(loaded.__all__)
    for name in loaded.__all__:
        assert getattr(loaded, name) is not None


def test_all_other_modules_are_private():
    modules = {one.name for one in pkgutil.iter_modules(daemoneye_eventbus.__path__)}
    assert {name for name in modules if not name.startswith("_")} == {"topics", "wire", "errors", "testing"}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "__version__"])
def test_each_has_a_text_for_help(name):
    value = getattr(daemoneye_eventbus, name)
    if isinstance(value, type | types.ModuleType | types.FunctionType):
        assert (inspect.getdoc(value) or "").strip()


async def test_the_program_in_the_packages_text_runs(path):
    """What `help(daemoneye_eventbus)` begins with."""
    text = inspect.getdoc(daemoneye_eventbus)
    lines = [line for line in text.splitlines() if line.startswith("    ")]
    names = {name: getattr(daemoneye_eventbus, name) for name in NAMES} | {"path": path}
    exec("async def program():\n" + "\n".join(lines) + "\n    return received", names)
    received = await names["program"]()
    assert received.event == daemoneye_eventbus.ProcessEvent(pid=1234, name="sh")


@pytest.mark.parametrize("name", NAMES)
def test_each_method_and_property_has_a_text_and_a_signature(name):
    """For `help` and whatever shows them while one types. A dataclass has the texts of its fields in its own."""
    value = getattr(daemoneye_eventbus, name)
    fields = {field.name for field in dataclasses.fields(value)} if dataclasses.is_dataclass(value) else set()
    for attribute in set(dir(value)) - fields if isinstance(value, type) else ():
        owner = next((one for one in value.__mro__ if attribute in vars(one)), None)
        if attribute.startswith("_") or owner is None or not owner.__module__.startswith("daemoneye_eventbus"):
            continue
        found = getattr(value, attribute)
        assert (inspect.getdoc(found) or "").strip(), f"{name}.{attribute}"
        if callable(found):
            inspect.signature(found)


@pytest.mark.parametrize("name", NAMES)
def test_each_field_of_a_dataclass_has_a_text_for_help(name):
    """A native one has it at the field, one in Python in the text of the class."""
    value = getattr(daemoneye_eventbus, name)
    if isinstance(value, type) and dataclasses.is_dataclass(value):
        text = inspect.getdoc(value)
        for field in dataclasses.fields(value):
            found = inspect.getattr_static(value, field.name, None)
            is_native = isinstance(found, types.GetSetDescriptorType | types.MemberDescriptorType)
            assert (is_native and found.__doc__) or f"\n    {field.name}: " in text, field.name


def fields_in_the_stub():
    for cls in ast.parse(Path(_native.__file__).with_name("_native.pyi").read_text()).body:
        for field, text in itertools.pairwise(getattr(cls, "body", ())):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                yield cls.name, field.target.id, inspect.cleandoc(text.value.value)


@pytest.mark.parametrize(("name", "field", "text"), list(fields_in_the_stub()))
def test_each_field_of_an_event_has_the_text_of_the_stub(name, field, text):
    assert inspect.getdoc(inspect.getattr_static(getattr(_native, name), field)) == text


def test_classes_say_where_they_are_found():
    """A repr, a traceback and a pickle name the public place or one that stays importable."""
    for name in NAMES:
        value = getattr(daemoneye_eventbus, name)
        if isinstance(value, type):
            assert value.__name__ == name
            assert getattr(importlib.import_module(value.__module__), name) is value


@pytest.mark.parametrize(("name", "how"), [("EventBus", "EventBus.connect"), ("Subscription", "EventBus.subscribe")])
def test_what_cannot_be_made_by_its_name_says_how_it_is_made(name, how):
    for arguments in ((), ("/tmp/bus.sock",)):
        with pytest.raises(TypeError, match=how):
            getattr(daemoneye_eventbus, name)(*arguments)
