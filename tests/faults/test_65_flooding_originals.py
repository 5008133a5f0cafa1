"""Fault 65, beyond the catalogue. Peers of the Rust original that publish as fast as they can."""

import time

import pytest
from harness import scaled, times, until

pytestmark = [
    pytest.mark.fault(
        65,
        "H",
        "beyond the catalogue: eight peers of the original publish as fast as the socket takes it",
        "native clients undisturbed; each of the eight has its turn; nothing of theirs is lost unread",
    ),
    pytest.mark.quick,
    pytest.mark.limit(120),
]
FLOODER = """
import json, socket, struct, sys, time
sys.path.insert(0, sys.argv[3])
from raw import process_message
one = process_message(7, topic="events.process.flood")
frame = struct.pack("<I", len(one)) + one
block = frame * 400
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
sock.sendall(frame)
print(json.dumps("ready"), flush=True)
end = time.monotonic() + float(sys.argv[2])
sent, longest = 1, 0.0
while (before := time.monotonic()) < end:
    sock.sendall(block)
    sent += 400
    longest = max(longest, time.monotonic() - before)
print(json.dumps({"sent": sent, "longest": longest}), flush=True)
sys.stdin.readline()
"""


def test_eight_that_flood(bench, seen, folder):
    from support import HERE

    b = bench({"original_patterns": ()})
    (folder / "flooder.py").write_text(FLOODER)
    seconds = scaled(1.5, 10, 60)
    floods = [b.start(str(folder / "flooder.py"), b.path, str(seconds), str(HERE)) for _ in range(times(8))]
    for flood in floods:
        assert flood.json() == "ready"
    time.sleep(seconds * 0.8)
    how = b.undisturbed()
    done = [flood.json(seconds + 30) for flood in floods]
    sent = [one["sent"] for one in done]
    until(lambda: total(b) == sum(sent), 20, "all of theirs published")
    # Neither of them is left behind for the others' sake.
    assert min(sent) > max(sent) / 8, sent
    assert b.statistics()["refused"].get("frame_timeout", 0) == 0
    slowest = max(one["longest"] for one in done)
    seen(f"{sum(sent)} messages in {seconds:g} s, {min(sent)} to {max(sent)} each, longest wait {slowest:.2f} s; {how}")


def total(b):
    """What clients other than native ones have published."""
    return sum(client["published"] for client in b.clients() if client["peer"] == "original")
