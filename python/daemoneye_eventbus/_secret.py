"""Bytes that are shown nowhere: what a configuration keeps of a token.

A configuration hides it from its own ``repr``; this hides it wherever it goes from there, as with `dataclasses.asdict`
or the variables of a traceback. It is the ``bytes`` it was made of in every other respect.
"""

from __future__ import annotations

__all__ = ["Secret"]


class Secret(bytes):
    """A token. Its ``repr`` and ``str`` say how long it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<token of {len(self)} bytes>"

    __str__ = __repr__
