"""A wire type is defined once, in Rust; wherever else its fields are named, they are these, in this order.

The truth is what the original wrote: the golden vectors name the fields of every type in wire order, and the tests of
the core hold the Rust definitions to their bytes.
"""

import ast
import inspect
import json
import re
import typing
from pathlib import Path

import pytest

import daemoneye_eventbus as bus
from daemoneye_eventbus import wire

ROOT = Path(__file__).parent.parent
EVENTS = {
    "Process": bus.ProcessEvent,
    "Network": bus.NetworkEvent,
    "Filesystem": bus.FilesystemEvent,
    "Performance": bus.PerformanceEvent,
    "TriggerRequest": bus.TriggerRequest,
}
OTHERS = {
    "Message": wire.Message,
    "CorrelationMetadata": bus.CorrelationMetadata,
    "EventSubscription": bus.EventSubscription,
    "SourceCaps": bus.SourceCaps,
    "EventFilter": bus.EventFilter,
    "CorrelationFilter": bus.CorrelationFilter,
    "EventBusStatistics": bus.EventBusStatistics,
    "BusEvent": bus.BusEvent,
}
CLASSES = [*EVENTS.values(), *OTHERS.values()]
# A received event also says where it came from; the original's `BusEvent` does not.
OURS_ALONE = {bus.BusEvent: ("topic", "sequence")}
# How the table in docs/wire.md calls them.
ROWS = {
    "message": wire.Message,
    "correlation metadata": bus.CorrelationMetadata,
    "process (0)": bus.ProcessEvent,
    "network (1)": bus.NetworkEvent,
    "filesystem (2)": bus.FilesystemEvent,
    "performance (3)": bus.PerformanceEvent,
    "trigger request (4)": bus.TriggerRequest,
    "subscription": bus.EventSubscription,
    "capabilities": bus.SourceCaps,
    "event filter": bus.EventFilter,
    "correlation filter": bus.CorrelationFilter,
    "bus event": bus.BusEvent,
    "statistics": bus.EventBusStatistics,
}


def values():
    """(class, value as a mapping) of each vector of today's generation."""
    for vector in json.loads((ROOT / "tests/vectors/postcard.json").read_text())["vectors"]:
        if vector["type"] == "CollectionEvent":
            ((name, value),) = vector["value"].items()
            yield EVENTS[name], value
        elif vector["type"] in OTHERS:
            yield OTHERS[vector["type"]], vector["value"]


FIELDS = {cls: tuple(value) for cls, value in values()}
OPTIONAL = {
    cls: {name for of, value in values() if of is cls for name in value if value[name] is None} for cls in CLASSES
}


def stub(cls):
    """Field names of the class as written in its stub, or in its source where it is Python."""
    found = next(
        node
        for source in ("_native.pyi", "_types.py")
        for node in ast.walk(ast.parse((ROOT / "python/daemoneye_eventbus" / source).read_text()))
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__
    )
    fields = [node for node in found.body if isinstance(node, ast.AnnAssign)]
    return {node.target.id: ast.unparse(node.annotation) for node in fields}


def test_every_type_has_vectors():
    assert set(FIELDS) == set(CLASSES)
    assert set(wire._NAMES) == {*CLASSES, bus.CollectionEvent}
    assert set(typing.get_args(bus.CollectionEvent)) == set(EVENTS.values())


@pytest.mark.parametrize("cls", CLASSES)
def test_the_class_has_these_fields(cls):
    fields = FIELDS[cls] + OURS_ALONE.get(cls, ())
    assert cls.__match_args__ == fields
    assert tuple(inspect.signature(cls).parameters) == fields


@pytest.mark.parametrize("cls", CLASSES)
def test_the_stub_has_these_fields(cls):
    said = stub(cls)
    ours = OURS_ALONE.get(cls, ())
    assert tuple(name for name in said if name not in ours) == FIELDS[cls]
    for name in FIELDS[cls]:
        nullable = "None" in said[name]
        assert nullable or name not in OPTIONAL[cls], f"{name} may be None"


def rows():
    page = (ROOT / "docs/wire.md").read_text()
    table = page[page.index("Fields in order") :].split("\n\n")[1]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    # What stands in brackets after a field is its type.
    return {name: re.sub(r" \([^)]*\)", "", fields).split(", ") for name, fields in cells}


def test_the_documentation_has_these_types():
    assert set(rows()) == set(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_the_documentation_has_these_fields(row):
    cls = ROWS[row]
    said = rows()[row]
    names = [each.removesuffix("?").replace(" ", "_") for each in said]
    assert tuple({"type": "message_type"}.get(name, name) for name in names) == FIELDS[cls]
    nullable = {name for name, each in zip(names, said, strict=True) if each.endswith("?")}
    assert nullable == {name for name in FIELDS[cls] if "None" in stub(cls)[name]}
