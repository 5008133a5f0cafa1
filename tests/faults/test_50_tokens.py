"""Fault 50. Proving a secret."""

import contextlib
import hashlib
import os
import time

import pytest
from harness import scaled

pytestmark = [
    pytest.mark.fault(
        50,
        "C",
        "token wrong, empty, 1 MiB, non-UTF-8; replayed handshake; publish before auth; challenge answered twice; timing",
        "one uniform error, cut, back-off per uid; replay fails; no timing signal",
    ),
    pytest.mark.limit(300),
]
TOKEN = "correct horse battery staple 32b"


def greet(b, nonce):
    peer = b.dial()
    peer.say("CONNECT", protocol=1, client="x", dialect="bincode", nonce=nonce)
    return peer, peer.expect("INFO")


def test_every_wrong_answer_is_one_error(bench, seen):
    from raw import process_message

    b = bench({"token": TOKEN}, canary_config={"token": TOKEN})
    nonce = os.urandom(32).hex()
    answers = set()
    proofs = ["00" * 32, "", "zz", "00" * 31, "ff" * 33, "é", TOKEN, "0" * 60_000]
    for proof in proofs:
        peer, info = greet(b, nonce)
        assert info["auth"] == "token"
        assert info["nonce"] != nonce
        peer.say("AUTH", proof=proof)
        answers.add(repr(peer.closed()))
    assert len(answers) == 1, answers
    assert "authentication_failed" in answers.pop()
    # A replayed handshake: the recorded proof answers another challenge.
    recorded = hashlib.blake2s(b"recorded").hexdigest()
    for _ in range(3):
        peer, _ = greet(b, nonce)
        peer.say("AUTH", proof=recorded)
        assert peer.closed()["code"] == "authentication_failed"
    # Before the proof nothing is done.
    for early in (b'SUB {"id":1,"topic_patterns":["events.#"]}', b"PING", b'STATS {"id":1}', process_message(1)):
        before = b.statistics()["messages_published"]
        peer, _ = greet(b, nonce)
        peer.send(early)
        said = peer.closed()
        assert said is None or said["code"] in {"protocol", "authentication_failed"}, said
        assert b.statistics()["messages_published"] - before < 100  # the canary's own
    # Two answers to one challenge: the first decides.
    peer, _ = greet(b, nonce)
    peer.say("AUTH", proof="00" * 32)
    with contextlib.suppress(OSError):
        peer.say("AUTH", proof="11" * 32)
    assert peer.closed()["code"] == "authentication_failed"
    assert b.refused("authentication_failed") >= len(proofs) + 4
    seen(f"{len(proofs)} wrong proofs: one answer; {b.undisturbed()}")


def test_the_time_of_a_refusal_says_nothing(bench, seen):
    """Proofs that are wrong in the first byte and in the last take equally long."""
    b = bench({"token": TOKEN}, canary=False)
    nonce = "11" * 32
    times: dict[str, list[float]] = {"first": [], "last": []}
    for _ in range(scaled(10, 25, 200)):
        for name, proof in (("first", "ff" + "00" * 31), ("last", "00" * 31 + "ff")):
            peer, _ = greet(b, nonce)
            begin = time.perf_counter()
            peer.say("AUTH", proof=proof)
            peer.closed()
            times[name].append(time.perf_counter() - begin)
            peer.close()
        b.raws.clear()
    medians = {name: sorted(values)[len(values) // 2] for name, values in times.items()}
    spread = abs(medians["first"] - medians["last"]) / max(medians.values())
    assert spread < 0.2, medians
    micro = {name: round(value * 1e6, 1) for name, value in medians.items()}
    seen(f"median refusal in us {micro}")
