"""Objects of a publisher that run code of his when a queue lets go of them."""

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parent / "programs" / "last_words.py"


def test_what_a_queue_lets_go_of_may_ask_the_bus(path):
    """A queue drops under its lock; whoever asked it something there would wait for himself for ever."""
    done = subprocess.run([sys.executable, str(PROGRAM), path], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"asked": 14, "dropped": 6}
