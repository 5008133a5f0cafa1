"""Objects whose destructors run Python code: those of a message in a queue, and a call that was never awaited."""

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


def test_destructors_of_dropped_messages_may_call_the_bus(path):
    """A queue drops messages under its lock: a destructor that called the bus there would deadlock."""
    assert said_by("destructors.py", path) == {"asked": 14, "dropped": 6}


def test_an_operation_that_is_dropped_while_an_exception_is_set(path):
    """As in ``gather(bus.publish(event), wrong())``, or when a handler raises; the process once ended by SIGSEGV."""
    said = said_by("unawaited.py", path)
    assert said.pop("after") == ["2"]
    assert {name: words[0] for name, words in said.items()} == dict.fromkeys(said, "Mine")
    for name in ("publish", "publish_control", "get", "__anext__"):
        assert said[name] == ["Mine", "happened", "happened"]
