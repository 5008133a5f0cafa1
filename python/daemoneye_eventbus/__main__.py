"""``python -m daemoneye_eventbus``."""

from __future__ import annotations

import sys

from daemoneye_eventbus._cli import main

if __name__ == "__main__":
    sys.exit(main())
