"""A listing of a broker's clients, page by page. It ends whatever the broker answers: ids must rise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Listing"]

# Twice as many as a broker admits: some come and go meanwhile, and buses of its own process are listed too.
_MOST: Final = 2 * 65_536


class Listing:
    """How far it has come."""

    def __init__(self) -> None:
        self.after: str | None = None
        self._seen = 0

    def advance(self, page: Sequence[dict[str, Any]], more: bool) -> bool:
        """Whether to ask for the clients after `after`; ValueError if that would have no end."""
        self._seen += len(page)
        if not more:
            return False
        if not page or (self.after is not None and page[-1]["id"] <= self.after):
            raise ValueError("repeats its clients")
        if self._seen > _MOST:
            raise ValueError(f"lists more than {_MOST} clients")
        self.after = page[-1]["id"]
        return True
