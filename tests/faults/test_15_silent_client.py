"""Fault 15. Authentication never inside the accept loop."""

import socket
import time

import pytest
from harness import scaled, times, until

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
    count = times(20)
    silent = [b.dial(timeout=10) for _ in range(count)]
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
    until(lambda: b.refused("handshake_timeout") >= count, what="counter")
    seen(f"{way}: served in {served * 1000:.1f} ms, cut after {cut:.1f} s; {b.undisturbed()}")


def test_beyond_max_original_peers_silence_is_cut_too(bench, seen):
    """As many as may be are taken for peers of the original, who may be silent for as long as they like; the others are told busy."""
    places, count = 3, scaled(12, 40)
    b = bench({"max_original_peers": places})
    silent = [b.dial(timeout=10) for _ in range(count)]
    begin = time.monotonic()
    until(lambda: b.refused("busy_original") >= count - places, 5, "cut")
    cut = time.monotonic() - begin
    assert 1.5 < cut < 3.5, cut
    # Those who stay are asked for a sign of life.
    ended = [peer for peer in silent if b"ERR" in peer.sock.recv(64, socket.MSG_PEEK)]
    assert [peer.closed()["code"] for peer in ended] == ["busy"] * (count - places)
    stay = [client["peer"] for client in b.clients() if client["peer"] == "original"]
    assert len(stay) == places
    good = b.dial()
    began = time.monotonic()
    good.connect()
    served = time.monotonic() - began
    assert served < 0.1, served
    # A place that is given up is free at once.
    for peer in silent:
        if peer not in ended:
            peer.close()
    until(lambda: b.statistics()["connections"] == 3, what="places given back")
    late = b.dial(timeout=10)
    until(lambda: any(client["peer"] == "original" for client in b.clients()), 4, "a later one is served")
    late.close()
    seen(f"{count} silent, {places} places: {len(ended)} cut after {cut:.1f} s; {b.undisturbed()}")


def test_who_says_connect_and_never_proves_the_token_is_cut_at_the_same_deadline(bench, seen):
    limit = 0.6
    b = bench({"token": TOKEN, "handshake_timeout": limit}, canary_config={"token": TOKEN})
    mute = b.dial(timeout=10)
    begin = time.monotonic()
    mute.say("CONNECT", protocol=1, client="mute", dialect="bincode", nonce="00" * 32)
    assert mute.expect("INFO")
    assert mute.closed()["code"] == "authentication_failed"
    cut = time.monotonic() - begin
    # The answer to a failed proof is late on purpose, 0.1 s the first time.
    assert limit < cut < limit + 1, cut
    assert b.refused("authentication_failed") == 1
    seen(f"no proof: cut after {cut:.1f} s of {limit} s; {b.undisturbed()}")
