"""Whether the API reference is whole: every public name and every parameter with a text, and on the site.

A parameter has its text where the docstring names it in backquotes, a parameter of a constructor also where the
attribute of the same name has a docstring of its own, or stands in the section ``Attributes`` of its class.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import griffe

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = "daemoneye_eventbus"
MODULES = ("topics", "wire", "errors", "testing")
ROUTINE = {"self", "cls"}
# Of a class that derives from the standard library's, whose documentation has these.
STANDARD = {"Timestamp": {"year", "month", "day", "hour", "minute", "second", "microsecond", "tzinfo", "fold"}}


def _named(text: str) -> set[str]:
    """What stands in backquotes, also as the first word of a longer piece (``timeout=2.0``)."""
    return {word for piece in re.findall(r"`+([^`]+)`+", text) for word in re.findall(r"^\*{0,2}(\w+)", piece)}


def _text(item: griffe.Object | griffe.Alias) -> str:
    return item.docstring.value if item.docstring else ""


def _attributes(item: griffe.Class) -> Iterator[str]:
    for section in item.docstring.parse("google") if item.docstring else ():
        if isinstance(section, griffe.DocstringSectionAttributes):
            yield from (attribute.name for attribute in section.value if attribute.description)


def _parameters(function: griffe.Function) -> Iterator[str]:
    known = ROUTINE | STANDARD.get(function.parent.name if function.parent else "", set())
    for parameter in function.parameters:
        if parameter.name not in known and not parameter.name.startswith("_"):
            yield parameter.name


def _target(item: griffe.Object | griffe.Alias) -> griffe.Object:
    return item.final_target if isinstance(item, griffe.Alias) else item


def _function(item: griffe.Function) -> Iterator[str]:
    if not _text(item):
        yield f"{item.path}: no text"
    known = _named(_text(item))
    for name in _parameters(item):
        if name not in known:
            yield f"{item.path}({name}): no text"


def _class(item: griffe.Class) -> Iterator[str]:
    if not _text(item):
        yield f"{item.path}: no text"
    family = [item, *item.mro()]
    named = set().union(*(_named(_text(one)) for one in family), *map(_attributes, family))
    members = {name: _target(member) for name, member in {**item.inherited_members, **item.members}.items()}
    for name, member in members.items():
        if isinstance(member, griffe.Function):
            # A constructor that is inherited is its own class's business, or private.
            if name in {"__init__", "__new__"} and name in item.members:
                told = {one.name for one in members.values() if _text(one)} | named
                yield from (f"{item.path}({p}): no text" for p in _parameters(member) if p not in told)
            elif not name.startswith("_"):
                yield from _function(member)
        elif not name.startswith("_") and not _text(member) and name not in named:
            yield f"{item.path}.{name}: no text"


def _public(module: griffe.Object | griffe.Alias) -> Iterator[tuple[str, griffe.Object]]:
    for name in module.exports or ():
        member = module[str(name)]
        yield str(name), _target(member)


def _load(source: Path) -> griffe.Object | griffe.Alias:
    # The stub is what tells of native classes; the extension itself need not be built.
    loader = griffe.GriffeLoader(search_paths=[source], allow_inspection=False)
    package = loader.load(PACKAGE)
    loader.resolve_aliases(implicit=False)
    return package


def without_text(source: Path) -> Iterator[str]:
    """What of the public API has no text; ``source`` is the folder of the package."""
    package = _load(source)
    for module in (package, *(package[name] for name in MODULES)):
        for name, item in _public(module):
            if isinstance(item, griffe.Class):
                yield from _class(item)
            elif isinstance(item, griffe.Function):
                yield from _function(item)
            # The constants of `topics` say what they are by their values.
            elif not _text(item) and not (module.name == "topics" and isinstance(item, griffe.Attribute)):
                yield f"{module.path}.{name}: no text"


def not_on_site(site: Path) -> Iterator[str]:
    """What of the public API the built site has no entry for."""
    inventory = (site / "objects.inv").read_bytes()
    body = zlib.decompress(inventory.split(b"\n", 4)[4]).decode()
    there = {line.split(" ", 1)[0] for line in body.splitlines()}
    package = _load(Path(__file__).parent.parent.parent / "python")
    for module in (package, *(package[name] for name in MODULES)):
        for name, item in _public(module):
            paths = {f"{module.path}.{name}", f"{PACKAGE}.{name}", item.path}
            if not paths & there and not item.is_module:
                yield f"{module.path}.{name}: not on the site"
