"""Fault 61, beyond the catalogue. What a local account, a buggy collector or a full disk can do besides."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
from harness import CANARY, HOST, scaled, times, until

from raw import Message, framed, process_event, process_message
from support import Program

pytestmark = [
    pytest.mark.fault(
        61,
        "H",
        "beyond the catalogue: absurd numbers in texts, a log on a full disk, a publisher stopped mid-frame, "
        "subscriptions that churn, names that would move a terminal",
        "an error or nothing; memory flat; nobody else disturbed",
    ),
    pytest.mark.limit(120),
]


def test_absurd_numbers_in_texts(bench, seen):
    b = bench({"original_peers": False})
    head = '"protocol":1,"client":"x","dialect":"bincode"'
    absurd = (
        "0",
        "-1",
        "1e400",
        "1e18",
        "18446744073709551615",
        "18446744073709551616",
        '"5"',
        "null",
        "[]",
        "1.5",
        "true",
    )
    kept = 0
    for field in ("queue_messages", "queue_bytes", "max_frame"):
        for number in absurd:
            peer = b.dial()
            peer.send(f'CONNECT {{{head},"{field}":{number}}}'.encode())
            verb, _fields = peer.hear()
            assert verb in {"INFO", "ERR"}, (field, number)
            if verb == "INFO":
                peer.subscribe(1, "events.process.#")
                peer.barrier()
                kept += 1
            peer.close()
    for number in absurd:
        peer = b.connected()
        with contextlib.suppress(OSError):  # cut for what came before
            for verb in ("SUB", "UNSUB", "STATS"):
                peer.send(f'{verb} {{"id":{number},"topic_patterns":["events.#"]}}'.encode())
            peer.send(b"PING")
        while (body := peer.receive()) is not None and body != b"PONG":
            pass
        peer.close()
    b.hang_up()
    b.back_to_base()
    seen(f"{3 * len(absurd)} absurd settings, {kept} capped, others refused; {b.undisturbed()}")


def test_a_log_on_a_full_disk(path, seen):
    """stderr that takes nothing: the broker refuses, logs, and goes on."""
    with open("/dev/full", "w") as full:
        broker = subprocess.Popen(
            [sys.executable, HOST, path, "{}", "{}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=full
        )
        canary = Program(CANARY, path) if until(lambda: os.path.exists(path), 10) else None
        try:
            canary.json()
            from raw import Raw

            for _ in range(20):
                peer = Raw(path)
                peer.write(b"\xff" * 16)
                peer.closed()
                peer.close()
            time.sleep(1.2)
            said = canary.ask()
            assert (said["lost"], said["gaps"]) == (0, 0), said
            assert broker.poll() is None
            canary.finish()
        finally:
            canary.close()
            broker.send_signal(signal.SIGTERM)
            broker.communicate(timeout=10)
    seen("log on a full disk: canary undisturbed")


def test_a_publisher_stopped_in_the_middle_of_a_frame(bench, seen):
    """A debugger holds it beyond frame_timeout: cut, and nothing of the half frame is ever delivered."""
    b = bench({"frame_timeout": 1.0})
    reader, writer = b.connected(), b.connected()
    reader.subscribe(1, "events.process.#")
    writer.write(framed(process_message(1))[:-1])
    assert writer.closed()["code"] == "frame_timeout"
    assert reader.barrier() == []
    seen(f"cut, nothing delivered; {b.undisturbed()}")


def test_subscriptions_that_churn(bench, seen):
    b = bench()
    peer = b.connected()
    number, sizes = 0, []
    for _half in range(2):
        for _ in range(times(scaled(150, 2000))):
            names = [f"events.x{number + step}.#" for step in range(50)]
            number += 1
            peer.sub(number, *names)
            peer.say("UNSUB", id=number)
            peer.expect("OK")
            peer.expect("OK")
        sizes.append(b.reading().rss)
    grown = (sizes[1] - sizes[0]) / (1 << 20)
    assert grown < 1, sizes
    assert b.statistics()["active_topics"] == 1
    seen(f"{number} x 50 patterns came and went: {grown:+.1f} MiB; {b.undisturbed()}")


def test_names_that_would_move_a_terminal(bench, seen):
    b = bench()
    name = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe\n\r"
    peer = b.dial()
    peer.say("CONNECT", protocol=1, client=name, dialect="bincode")
    peer.expect("INFO")
    assert name in [client["name"] for client in b.clients()], "who shows it escapes it"
    peer.send(Message("events.x\x1b[31m\nlog forged", process_event(1)).encode())
    peer.expect("ERR")
    until(lambda: b.log(), what="log")
    for line in b.broker.stderr().splitlines():
        assert line.isprintable(), line
        assert line.startswith("log daemoneye_eventbus."), line
    assert any(r"\x1b]0;owned\x07\x1b[2J\u202egnp.exe\x0a\x0d" in line for line in b.log()), b.log()
    done = subprocess.run(
        [sys.executable, "-m", "daemoneye_eventbus", "clients", "--path", b.path],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    for line in done.stdout.splitlines():
        assert line.isprintable(), line
    seen("escaped wherever people read it")
