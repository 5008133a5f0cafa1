"""``python -m benches.instructions``: instructions of the hot path per event, which no load on the machine changes.

Each program runs under callgrind twice, with few and with more events; the difference per event leaves start-up out.
Compared with `baseline.json`, which names the tool chain it holds for; `--store` writes it anew.

* publish: a publisher's thread encodes an event into its send buffer and hands it to the kernel
* route: the broker checks it, looks up who reads it, queues and writes it, and what its waiting costs
* deliver: a subscriber's thread reads, queues, takes out and decodes it
* python: the same event made, published, awaited and read in Python within one process, the interpreter included
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parent.parent
_BASELINE = Path(__file__).parent / "baseline.json"
_BATCH = 64
_BATCHES = (50, 150)
_EVENTS = (1_000, 3_000)
_TOTAL = "total"
_RUNS = 3


def _callgrind(command: Sequence[str], functions: Sequence[str]) -> dict[str, int]:
    """Instructions of the whole and, inclusive, of the functions whose names end so."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        options = [f"--callgrind-out-file={out}", "--quiet", "--fair-sched=no"]
        environment = {**os.environ, "PYTHONPATH": str(_ROOT), "PYTHONHASHSEED": "0", "PYTHONMALLOC": "malloc"}
        subprocess.run(
            ["valgrind", "--tool=callgrind", *options, *command], check=True, env=environment, cwd=folder, timeout=500
        )
        said = subprocess.run(
            ["callgrind_annotate", "--inclusive=yes", "--threshold=100", "--show-percs=no", str(out)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    counts: dict[str, int] = {}
    for line in said.splitlines():
        found = re.match(r"\s*([\d,]+)\s+(.*)", line)
        if not found:
            continue
        count = int(found[1].replace(",", ""))
        if found[2].startswith("PROGRAM TOTALS"):
            counts[_TOTAL] = count
        for name in functions:
            if re.search(rf"\b{name}(?: \[|$)", found[2]):
                counts[name] = max(counts.get(name, 0), count)
    return counts


def _least(runs: Sequence[dict[str, int]]) -> dict[str, int]:
    return {name: min(run[name] for run in runs) for name in runs[0]}


def _per_event(command: Sequence[str], sizes: tuple[int, int], each: int, functions: Sequence[str]) -> dict[str, float]:
    """Of several runs the least count: threads may wake each other once more often, never once less than needed."""
    few, more = (_least([_callgrind([*command, str(size)], functions) for _ in range(_RUNS)]) for size in sizes)
    events = (sizes[1] - sizes[0]) * each
    return {name: (more[name] - few[name]) / events for name in (_TOTAL, *functions)}


def _bench() -> str:
    """Builds the Rust half as releases are built."""
    said = subprocess.run(
        [
            "cargo",
            "bench",
            "--locked",
            "--no-run",
            "-p",
            "daemoneye-eventbus-core",
            "--bench",
            "instructions",
            "--message-format=json",
        ],
        check=True,
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    for line in said.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "instructions":
            return str(message["executable"])
    raise SystemExit("cargo built no bench named instructions")


def _measure() -> dict[str, float]:
    publish, deliver = "instructions::publish", "instructions::deliver"
    core = _per_event([_bench()], _BATCHES, _BATCH, (publish, deliver))
    python = _per_event([sys.executable, "-m", "benches.instructions_python"], _EVENTS, 1, ())
    return {
        "publish": round(core[publish]),
        "route": round(core[_TOTAL] - core[publish] - core[deliver]),
        "deliver": round(core[deliver]),
        "python": round(python[_TOTAL]),
    }


def _tools() -> dict[str, str]:
    def first_line(*command: str) -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0]

    return {
        "rustc": first_line("rustc", "--version"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "valgrind": first_line("valgrind", "--version"),
        "machine": platform.machine(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Counts, prints, compares or stores."""
    parser = argparse.ArgumentParser(prog="python -m benches.instructions", description=__doc__)
    parser.add_argument("--store", action="store_true", help="make this the baseline")
    parser.add_argument("--tolerance", type=float, default=3.0, help="per cent above the baseline that pass; default 3")
    asked = parser.parse_args(argv)
    if not shutil.which("valgrind"):
        print("valgrind is missing (Debian package valgrind)", file=sys.stderr)
        return 1
    counted, tools = _measure(), _tools()
    known: dict[str, Any] = json.loads(_BASELINE.read_text(encoding="utf-8")) if _BASELINE.exists() else {}
    worse = []
    for name, count in counted.items():
        before = known.get("instructions", {}).get(name)
        change = f"{(count / before - 1) * 100:+.1f} %" if before else "new"
        if before and count > before * (1 + asked.tolerance / 100):
            worse.append(name)
            change += f", more than {asked.tolerance:g} % above"
        print(f"{name:<10}{count:>8} instructions per event  {change}")
    if asked.store:
        _BASELINE.write_text(json.dumps({"tools": tools, "instructions": counted}, indent=1) + "\n", encoding="utf-8")
        print(f"stored in {_BASELINE.relative_to(_ROOT)}")
        return 0
    if known and known["tools"] != tools:
        print(f"the baseline is of another tool chain and proves nothing here: {known['tools']}", file=sys.stderr)
        return 0
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
