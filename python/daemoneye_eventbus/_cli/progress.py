"""How far ``pub`` is with its lines, and what became of them."""

from __future__ import annotations

import sys
import time
from typing import Final

from daemoneye_eventbus._cli import output
from daemoneye_eventbus._cli.numbers import counted

__all__ = ["PROG", "Progress"]

PROG: Final = "daemoneye-eventbus pub"
_STEP: Final = 2.0


class Progress:
    """How far it is: on a terminal one line that changes, elsewhere a line now and then, at the end the total."""

    def __init__(self, size: int | None, *, quiet: bool) -> None:
        self.lines = self.published = self.bad = self.left = 0
        self._size = size
        self._bytes = 0
        self._quiet = quiet
        self._terminal = output.is_terminal(sys.stderr)
        self._shown = False
        self._began = self._told = time.monotonic()

    def line(self, line: bytes) -> None:
        """One more is looked at."""
        self.lines += 1
        self._bytes += len(line) + 1

    def tick(self) -> None:
        """Prints the progress if it is time; only for files, since who types or pipes lines knows it."""
        now = time.monotonic()
        if self._size is None or self._quiet or now - self._told < (_STEP if not self._terminal else 0.2):
            return
        self._told = now
        share = f"{min(100, self._bytes * 100 // self._size)} %, " if self._size else ""
        text = f"{share}{counted(self.published, 'event')}, {self.published / (now - self._began):.0f}/s"
        if self._terminal:
            self._shown = True
            output.tell(f"\r{PROG}: {text}\x1b[K")
        else:
            output.say(PROG, text)

    def clear(self) -> None:
        """Leaves the line free for something else."""
        if self._shown:
            self._shown = False
            output.tell("\r\x1b[K")

    def total(self, refused: int, unconfirmed: int) -> None:
        """After an error it is wanted most."""
        if not self._quiet or self.bad:
            # A refused one may not be confirmed either.
            parts = [f"published {counted(max(self.published - refused - unconfirmed, 0), 'event')}"]
            parts += [counted(self.bad, "bad line")] if self.bad else []
            fates = ((refused, "refused"), (unconfirmed, "unconfirmed"))
            parts += [f"{count} {word}" for count, word in fates if count]
            parts += [f"{counted(self.left, 'line')} not published"] if self.left else []
            output.say(PROG, ", ".join(parts))
