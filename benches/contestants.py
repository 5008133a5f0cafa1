"""Who takes part: ``PEER[:VARIANT][+uvloop][@PYTHON]``, where PYTHON is another environment's interpreter."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from benches.peers import PEERS


@dataclass(frozen=True)
class Contestant:
    """A bus, a way to use it, the loop, and whose interpreter."""

    peer: str
    variant: str
    loop: str = "asyncio"
    python: str | None = None

    @property
    def name(self) -> str:
        """As tables call it."""
        first = next(iter(PEERS[self.peer].variants))
        text = self.peer + ("" if self.variant == first else f":{self.variant}")
        text += "" if self.loop == "asyncio" else f"+{self.loop}"
        return text + (f"@{self.python}" if self.python else "")

    @property
    def host(self) -> str | None:
        """The role whose process has the broker in it; `None`: the broker has one of its own."""
        return {"from_agent": "publish", "to_agent": "subscribe"}.get(self.variant)


def contestant(text: str) -> Contestant:
    """From the command line."""
    rest, _, python = text.partition("@")
    rest, _, loop = rest.partition("+")
    peer, _, variant = rest.partition(":")
    if peer not in PEERS:
        raise argparse.ArgumentTypeError(f"{peer!r} is not one of {', '.join(PEERS)}")
    variants = PEERS[peer].variants
    variant = variant or next(iter(variants))
    if variant not in variants:
        raise argparse.ArgumentTypeError(f"{peer} has the variants {', '.join(variants)}, not {variant!r}")
    if loop not in {"", "asyncio", "uvloop"}:
        raise argparse.ArgumentTypeError(f"{loop!r} is neither asyncio nor uvloop")
    if python and not Path(python).exists():
        raise argparse.ArgumentTypeError(f"there is no interpreter at {python}")
    return Contestant(peer, variant, loop or "asyncio", python or None)
