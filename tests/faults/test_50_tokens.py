"""Fault 50. Proving a secret."""

import asyncio
import contextlib
import os
import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import scaled, times

from daemoneye_eventbus import ClientConfig, EventBus

pytestmark = [
    pytest.mark.fault(
        50,
        "C",
        "token wrong, empty, 1 MiB, non-UTF-8; replayed handshake; publish before auth; challenge answered twice; timing",
        "one uniform error, cut, back-off per uid; replay fails; no timing signal",
    ),
    pytest.mark.limit(scaled(300, 300, 600)),
]
TOKEN = "correct horse battery staple 32b"


def greet(b, nonce):
    peer = b.dial()
    peer.say("CONNECT", protocol=1, client="x", dialect="bincode", nonce=nonce)
    return peer, peer.expect("INFO")


def test_every_wrong_answer_is_one_error(bench, seen):
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
    # Two answers to one challenge: the first decides.
    peer, _ = greet(b, nonce)
    peer.say("AUTH", proof="00" * 32)
    with contextlib.suppress(OSError):
        peer.say("AUTH", proof="11" * 32)
    assert peer.closed()["code"] == "authentication_failed"
    assert b.refused("authentication_failed") >= len(proofs) + 1
    # Who fails again and again is answered later and later, and who has the token is not.
    peer, _ = greet(b, nonce)
    begin = time.perf_counter()
    peer.say("AUTH", proof="00" * 32)
    peer.closed()
    assert 1.5 < time.perf_counter() - begin < 5
    seen(f"{len(proofs)} wrong proofs: one answer; {b.undisturbed()}")


def test_a_recorded_handshake_is_of_no_use(bench, seen):
    """Every byte that a client with the token has sent, sent again by somebody who has only heard it."""
    from raw import process_message

    b = bench({"token": TOKEN}, canary=False)
    heard: list[bytes] = []
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = f"{folder}/relay.sock"
        listener.bind(path)
        listener.listen()

        def relay() -> None:
            client, _ = listener.accept()
            broker = socket.socket(socket.AF_UNIX)
            broker.connect(b.path)
            back = threading.Thread(target=pump, args=(broker, client, []))
            back.start()
            pump(client, broker, heard)
            back.join()
            client.close()
            broker.close()

        thread = threading.Thread(target=relay)
        thread.start()

        async def session() -> None:
            async with EventBus.connect(path, config=ClientConfig(token=TOKEN.encode(), pool=False)) as bus:
                await bus.publish_control("health.heard", b"once")
                await bus.flush()

        asyncio.run(session())
        thread.join()
    said = b"".join(heard)
    assert b"CONNECT" in said
    assert b"AUTH" in said
    before = b.statistics()["messages_published"]
    for _ in range(2):
        peer = b.dial()
        peer.write(said)
        assert peer.closed()["code"] == "authentication_failed"
    # Before the proof nothing is done.
    for early in (b'SUB {"id":1,"topic_patterns":["events.#"]}', b"PING", b'STATS {"id":1}', process_message(1)):
        peer, _ = greet(b, "22" * 32)
        peer.send(early)
        refused = peer.closed()
        assert refused is None or refused["code"] in {"protocol", "authentication_failed"}, refused
    assert b.statistics()["messages_published"] == before
    # Nor is it for who begins as a peer of the original, proves nothing, and goes on as a native client.
    again = bench({"token": TOKEN, "original_auth": True}, path=b.path + "2", canary=False)
    peer = again.dial()
    peer.send(b"PING", process_message(1))
    peer.say("CONNECT", protocol=1, client="x", dialect="bincode", nonce="22" * 32)
    assert peer.expect("INFO")["auth"] == "token"
    peer.send(b'SUB {"id":1,"topic_patterns":["events.#"]}')
    assert peer.closed()["code"] == "authentication_failed"
    assert again.statistics()["messages_published"] == 0
    seen(f"{len(said)} recorded bytes: refused")


def pump(source: socket.socket, target: socket.socket, heard: list[bytes]) -> None:
    while data := source.recv(65536):
        heard.append(data)
        target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def refusal_time(peer, proof) -> float:
    begin = time.perf_counter()
    peer.say("AUTH", proof=proof)
    peer.closed()
    return time.perf_counter() - begin


def test_the_time_of_a_refusal_says_nothing(bench, seen):
    """Proofs that are wrong in the first byte and in the last take equally long."""
    b = bench({"token": TOKEN}, canary=False)
    nonce = "11" * 32
    took: dict[str, list[float]] = {"first": [], "last": []}
    proofs = {"first": "ff" + "00" * 31, "last": "00" * 31 + "ff"}
    # Both are answered late, so both are under way together; a different one is asked first in each round.
    with ThreadPoolExecutor(len(proofs)) as pool:
        for round_ in range(max(10, times(scaled(10, 25, 200)))):
            peers = {name: greet(b, nonce)[0] for name in proofs}
            waits = {}
            for name in sorted(proofs, reverse=bool(round_ % 2)):
                waits[name] = pool.submit(refusal_time, peers[name], proofs[name])
            for name, wait in waits.items():
                took[name].append(wait.result())
                peers[name].close()
            b.raws.clear()
    medians = {name: sorted(values)[len(values) // 2] for name, values in took.items()}
    spread = abs(medians["first"] - medians["last"]) / max(medians.values())
    assert spread < 0.2, medians
    micro = {name: round(value * 1e6, 1) for name, value in medians.items()}
    seen(f"median refusal in us {micro}")
