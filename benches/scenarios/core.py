"""The broker alone, over real sockets: one writer and one reader of ready-made frames, nothing lost."""

from __future__ import annotations

from benches.scenarios.one_to_one import run

__all__ = ["COLUMNS", "DEFAULT", "PLOTTED", "REFERENCE", "TITLE", "run"]

TITLE = "The Rust core over real sockets, one to one, 230-byte frames in large pieces"
DEFAULT = ("core",)
REFERENCE = "core"
COLUMNS = {"rate": "messages/s", "broker_cpu_us": "broker CPU us per message", "cpu_us": "with both ends"}
PLOTTED = ("rate", "broker_cpu_us")
