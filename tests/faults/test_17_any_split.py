"""Fault 17. A stream has no message borders."""

import time

import pytest
from harness import scaled, times

from raw import framed, process_message

pytestmark = [
    pytest.mark.fault(
        17,
        "C",
        "frame in 1-byte writes; with a 150 ms and a 3 s pause inside; 1,000 frames in one send",
        "all decoded, in order",
    ),
    pytest.mark.quick,
    pytest.mark.limit(60),
]


def test_however_the_bytes_come(bench, seen):
    b = bench()
    reader, writer = b.connected(), b.connected()
    reader.subscribe(1, "events.process.#")
    expected = 0

    def came(count):
        nonlocal expected
        for _ in range(count):
            message = reader.message()
            assert message.payload == process_payload(expected)
            expected += 1

    def process_payload(pid):
        from raw import process_event

        return process_event(pid)

    frame = framed(process_message(0))
    for at in range(len(frame)):
        writer.write(frame[at : at + 1])
        time.sleep(0.0005)
    came(1)
    for pause in (0.15, scaled(1.0, 3.0)):
        for cut in (2, 4, 5, 40):
            frame = framed(process_message(expected))
            writer.write(frame[:cut])
            if cut in (2, 40):
                time.sleep(pause)
            writer.write(frame[cut:])
            came(1)
    writer.send(*(process_message(expected + number) for number in range(times(1000))))
    came(times(1000))
    assert writer.barrier() == []
    seen(f"{expected} frames in order; {b.undisturbed()}")
