"""Objects that run code when they are let go of: a publisher's in a queue, and a call that nobody awaited."""

import json
import subprocess
import sys
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"


def said_by(program: str, path: Path) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, str(PROGRAMS / program), path], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, object] = json.loads(done.stdout)
    return said


def test_what_a_queue_lets_go_of_may_ask_the_bus(path):
    """A queue drops under its lock; whoever asked it something there would wait for himself for ever."""
    assert said_by("last_words.py", path) == {"asked": 14, "dropped": 6}


def test_a_call_given_up_while_an_exception_is_on_its_way(path):
    """As in ``gather(bus.publish(event), wrong())``, or where a handler raises; the process ended by SIGSEGV."""
    said = said_by("unawaited.py", path)
    assert said.pop("after") == ["2"]
    assert {name: words[0] for name, words in said.items()} == dict.fromkeys(said, "Mine")
    for name in ("publish", "publish_control", "get", "__anext__"):
        assert said[name] == ["Mine", "happened", "happened"]
