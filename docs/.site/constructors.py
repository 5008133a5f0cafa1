"""Classes that are made by ``__new__``, as native ones are, shown with the arguments that it takes."""

from __future__ import annotations

from typing import Any

import griffe


class Constructors(griffe.Extension):
    """Lets ``__new__`` of public classes stand where the reference looks for ``__init__``."""

    def on_class_members(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        """Called once for each class, with all that stands in its body."""
        del kwargs
        made = cls.members.get("__new__")
        if isinstance(made, griffe.Function) and "__init__" not in cls.members and not cls.name.endswith("Core"):
            # The first one is the class itself.
            taken = griffe.Parameters(*list(made.parameters)[1:])
            cls.set_member("__init__", griffe.Function("__init__", parameters=taken, returns=None))
