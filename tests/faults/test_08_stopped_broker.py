"""Fault 8. Silence is no proof of death."""

import os
import socket

import pytest
from harness import scaled
from paths import try_path

pytestmark = [
    pytest.mark.fault(
        8,
        "H",
        "second broker while the first is SIGSTOPped with a full backlog",
        "silence means live or unknown: refused, never replaced",
    ),
    pytest.mark.limit(90),
]


@pytest.mark.parametrize("lock", ["lock", "no lock"])
def test_a_stopped_broker_is_not_replaced(bench, path, seen, lock):
    b = bench(canary=False)
    before = os.stat(path).st_ino
    b.broker.freeze()
    held = []
    if lock == "no lock":
        os.unlink(path + ".lock")
        for _ in range(scaled(5000, 5000)):
            one = socket.socket(socket.AF_UNIX)
            one.setblocking(False)
            held.append(one)
            try:
                one.connect(path)
            except BlockingIOError:
                break
        else:
            pytest.fail("the backlog never filled")
    said = try_path(path)
    assert said.get("error") in {"BrokerAlreadyRunning", "PathRefused"}, said
    assert os.stat(path).st_ino == before
    for one in held:
        one.close()
    b.broker.thaw()
    reader = b.reader()
    b.flood(count=5)
    assert reader.ask(expect=5)["received"] == 5
    seen(f"{lock}, {len(held)} in the backlog: {said['error']}")
