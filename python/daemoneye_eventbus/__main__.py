"""``python -m daemoneye_eventbus``, and the command that is installed.

Ctrl-C ends the process as a shell expects once Python has loaded the package: importing the commands takes a tenth of a
second, and an exception meanwhile would be a traceback. The commands' own `main` handles it from then on.
"""

from __future__ import annotations

import signal
import sys

__all__ = ["main"]


def main() -> int:
    """Runs the command of this process's arguments, and returns its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from daemoneye_eventbus._cli import main as run  # noqa: PLC0415  # not before the line above

    return run()


if __name__ == "__main__":
    sys.exit(main())
