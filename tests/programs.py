"""Programs of this project as tests run them: in processes of their own, never waited for without a deadline."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"
DEADLINE = 40.0


def complete(script, *arguments, **options):
    """Runs ``script``, an example's name or a path, to its end."""
    return subprocess.run(
        [sys.executable, str(EXAMPLES / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
        **options,
    )


def wait_for(condition):
    """Returns when ``condition()`` is true."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
