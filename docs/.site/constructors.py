"""What the reference shows otherwise than it is found in the source: how classes are made, modes, words for tools."""

from __future__ import annotations

import ast
from typing import Any

import griffe

_FOR_PYTEST = " PYTEST_DONT_REWRITE"


class Constructors(griffe.Extension):
    """Lets ``__new__`` of public classes stand where the reference looks for ``__init__``."""

    def on_class_members(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        """Called once for each class, with all that stands in its body."""
        del kwargs
        made = cls.members.get("__new__")
        if isinstance(made, griffe.Function) and "__init__" not in cls.members and not cls.name.endswith("Core"):
            # The first one is the class itself.
            taken = list(made.parameters)[1:]
            # What nobody can call is not shown; the class says how it is made.
            if not any(str(one.annotation) == "Never" for one in taken):
                cls.set_member(
                    "__init__", griffe.Function("__init__", parameters=griffe.Parameters(*taken), returns=None)
                )


class Words(griffe.Extension):
    """Numbers as they are written, and texts without what is for other readers."""

    def on_attribute_instance(
        self, *, node: ast.AST | griffe.ObjectNode, attr: griffe.Attribute, **kwargs: Any
    ) -> None:
        """Called for each variable and field: a mode is octal."""
        del kwargs
        written = attr.source.rpartition("=")[2].strip()
        if isinstance(node, ast.AnnAssign) and written.startswith("0o"):
            attr.value = written

    def on_module_instance(self, *, mod: griffe.Module, **kwargs: Any) -> None:
        """Called for each module, before its members are there."""
        del kwargs
        if mod.docstring is not None:
            mod.docstring.value = mod.docstring.value.replace(_FOR_PYTEST, "")
