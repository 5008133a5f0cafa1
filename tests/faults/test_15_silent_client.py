"""Fault 15. Authentication never inside the accept loop."""

import time

import pytest
from harness import until

pytestmark = [
    pytest.mark.fault(
        15,
        "C",
        "a client connects and says nothing; then a good one connects",
        "good one served within 100 ms; silent one cut at 2 s (no original peers; a token; beyond max_original_peers)",
    ),
    pytest.mark.quick,
]
TOKEN = "0123456789abcdef0123456789abcdef"
WAYS = {
    "no original peers": ({"original_peers": False}, {}),
    "token": ({"token": TOKEN}, {"token": TOKEN}),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_silent_client_delays_nobody_and_is_cut(bench, seen, way):
    config, of_client = WAYS[way]
    b = bench(config, canary_config=of_client)
    silent = [b.dial(timeout=10) for _ in range(20)]
    begin = time.monotonic()
    b.reader(config=of_client).ask(expect=0)
    good = b.dial()
    began = time.monotonic()
    good.say("CONNECT", protocol=1, client="good", dialect="bincode", nonce="00" * 32)
    assert good.expect("INFO")
    served = time.monotonic() - began
    assert served < 0.1, served
    said = [peer.closed() for peer in silent]
    cut = time.monotonic() - begin
    assert 1.8 < cut < 3.5, cut
    assert {item["code"] for item in said if item} <= {"handshake_timeout"}
    until(lambda: b.refused("handshake_timeout") >= 20, what="counter")
    seen(f"{way}: served in {served * 1000:.1f} ms, cut after {cut:.1f} s; {b.undisturbed()}")
