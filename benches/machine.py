"""Where and with what something was measured."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

from benches.peers import PEERS


def about() -> dict[str, Any]:
    """Machine, versions and date."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "processor": model,
        "cores": os.cpu_count(),
        "load_before": [round(load, 1) for load in os.getloadavg()],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {peer.name: peer.version() for peer in PEERS.values() if not peer.missing()},
    }
