"""`sub`: filters, ends, rates and drops."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import threading

import pytest

import raw as raw_by_hand
from commands import DEADLINE, events, publish_lines, wait_for
from daemoneye_eventbus import os_text

pytest_plugins = ["commands"]
pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals, pipes and terminals of Unix"),
    pytest.mark.limit(90),
]


PEOPLE = [
    {
        "type": "process",
        "fields": {"pid": 1, "name": "a", "metadata": {"collector": "x", "k": "v"}},
        "correlation": "c-1",
    },
    {
        "type": "process",
        "fields": {"pid": 2, "name": "b"},
        "topic": "events.process.start",
        "correlation": {
            "correlation_id": "d-1",
            "parent_correlation_id": "p",
            "root_correlation_id": "r",
            "workflow_stage": "s",
            "sequence_number": 5,
            "correlation_tags": {"t": "u"},
        },
    },
    {"type": "performance", "fields": {"metric_name": "m", "value": 1, "unit": "s"}},
    {"type": "trigger", "fields": {"request_id": "r", "collector_type": "c", "priority": 9}},
    {"type": "control", "topic": "control.agent.policy", "fields": {"payload_base64": ""}},
]


FILTERS = [
    ([], [1, 2, None, None]),
    (["--include-control"], [1, 2, None, None, None]),
    (["--type", "process"], [1, 2]),
    (["--type", "performance", "--type", "trigger"], [None, None]),
    (["--pid", "2", "--pid", "3"], [2]),
    (["--min-priority", "9"], [None]),
    (["--min-priority", "10"], []),
    (["--metadata", "k=v"], [1]),
    (["--collector", "x"], [1]),
    (["--topic", "events.process.start"], [2]),
    (["--correlation", "c-1"], [1]),
    (["--correlation-pattern", "d-*"], [2]),
    (["--parent", "p"], [2]),
    (["--root", "r", "--root", "c-1"], [1, 2]),
    (["--stage", "s"], [2]),
    (["--tag", "t=u"], [2]),
    (["--any-tag", "t=u", "--any-tag", "x=y"], [2]),
    (["--min-sequence", "5"], [2]),
    (["--max-sequence", "4", "--type", "process"], [1]),
]


def test_filters(cli, cli_broker):
    readers = [cli("sub", "events.#", "control.#", "--json", *filters) for filters, _ in FILTERS]
    for reader in readers:
        reader.until("subscribed")
    publish_lines(cli, "".join(json.dumps(line) + "\n" for line in PEOPLE)).ends(0)

    def printed(reader):
        return [json.loads(line)["fields"].get("pid") for line in reader.stdout.splitlines()]

    for reader, (_, expected) in zip(readers, FILTERS, strict=True):
        wait_for(lambda reader=reader, expected=expected: len(printed(reader)) >= len(expected), "what matches")
    # What should not come had as long as what should.
    for reader, (filters, expected) in zip(readers, FILTERS, strict=True):
        reader.signal(signal.SIGINT).ends(130)
        assert printed(reader) == expected, filters


def test_filters_escape_bytes_as_pub_does(cli, cli_broker):
    """Names and ids as the system has them, which need not be Unicode."""
    odd, escaped = os.fsdecode(b"a\xff"), os_text(b"a\xff")
    ids = ["correlation_id", "parent_correlation_id", "root_correlation_id", "workflow_stage"]
    line = {
        "type": "process",
        "fields": {"pid": 1, "name": "sh", "metadata": {"collector": escaped}},
        "correlation": dict.fromkeys(ids, escaped),
    }
    options = ["--collector", "--correlation", "--correlation-pattern", "--parent", "--root", "--stage"]
    readers = [cli("sub", "events.#", option, odd, "--count", "1") for option in options]
    for reader in readers:
        reader.until("subscribed")
    publish_lines(cli, json.dumps(line) + "\n").ends(0)
    for reader in readers:
        reader.ends(0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "PATTERN"),
        (("events..x",), "events..x"),
        (("events.#.x",), "events.#.x"),
        (("events.#", "--topic", "##"), "##"),
        (("events.#", "--type", "x"), "invalid choice"),
        (("events.#", "--pid", "x"), "--pid"),
        (("events.#", "--metadata", "x"), "KEY=VALUE"),
        (("events.#", "--correlation-pattern", 257 * "x"), "--correlation-pattern: 257 bytes of UTF-8 are above the"),
        (("events.#", "--count", "0"), "--count"),
        (("events.#", "--timeout", "-1"), "--timeout"),
    ],
)
def test_bad_arguments_of_sub_are_usage_errors(cli, cli_broker, arguments, said):
    child = cli("sub", *arguments).ends(2)
    assert said in child.stderr
    assert child.stderr.count("\n") == 1


def test_count_and_timeout(cli, cli_broker):
    cli("sub", "events.#", "--count", "1", "--timeout", "0.3", "--quiet").ends(6, "")
    cli("sub", "events.#", "--timeout", "0.3", "--quiet").ends(0, "")
    reader = cli("sub", "events.#", "--count", "3").until("subscribed")
    publish_lines(cli, events(1, 2, 3, 4, 5)).ends(0)
    assert len(reader.ends(0).stdout.splitlines()) == 3


def test_a_broker_that_acknowledges_nothing(cli, path):
    """With or without `--timeout`, which counts from the acknowledgement."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve():
            with contextlib.closing(raw_by_hand.Raw.of(listener.accept()[0])) as peer:
                peer.expect("CONNECT")
                peer.say("INFO", **raw_by_hand.info())
                while peer.receive() is not None:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        child = cli("sub", "events.#", "--timeout", "1").ends(5)
        thread.join(DEADLINE)
    assert child.stderr == "daemoneye-eventbus sub: the broker did not answer within 5 s\n"


def test_rates_and_drops(cli, cli_broker):
    read, write = os.pipe()
    slow = cli("sub", "events.#", "--interval", "0.1", stdout=write).until("subscribed")
    os.close(write)
    # More than its pipe, its queue and the kernel's buffers hold.
    for _ in range(4):
        publish_lines(cli, events(*range(50_000))).ends(0)
    stream = os.fdopen(read, "rb")
    rest = threading.Thread(target=stream.read, daemon=True)
    rest.start()

    def everything():
        reports = re.findall(r"(\d+) events, \d+/s, (\d+) dropped", slow.stderr)
        return reports and sum(map(int, reports[-1])) == 200_000 and int(reports[-1][1]) > 0

    wait_for(everything, "a report that accounts for all")
    slow.signal(signal.SIGINT).ends(130)
    rest.join(DEADLINE)
    stream.close()
    assert re.search(r"events in [\d.]+ s, \d+ dropped\n$", slow.stderr)


def test_patterns_that_only_control_messages_match(cli, cli_broker):
    """It was silent for ever."""
    hint = "--include-control"
    ends = ("--timeout", "0.1")
    assert hint in cli("sub", "control.#", "control.agent.*", *ends).ends(0).stderr
    assert hint not in cli("sub", "control.#", "events.#", *ends).ends(0).stderr
    assert hint not in cli("sub", "control.#", "--include-control", *ends).ends(0).stderr


def test_a_range_that_nothing_can_be_in_is_refused(cli, path):
    said = cli("sub", "events.#", "--path", path, "--min-sequence", "5", "--max-sequence", "2").ends(2).stderr
    assert "sub: --min-sequence 5 is above --max-sequence 2: nothing could match\n" in said


def test_how_deep_a_pattern_may_be_is_for_the_broker_to_say(cli, path):
    cli("broker", path, "--max-topic-depth", "9").until("listening", "stdout")
    deep, deeper = "events" + ".a" * 8, "events" + ".a" * 9
    cli("sub", deep, "--topic", deep, "--timeout", "0.1").ends(0)
    assert "10 levels (max 9)" in cli("sub", deeper).ends(2).stderr
    cli("decode", "--live", "--subscribe", deep, "--count", "2").ends(0, "")
    assert "at the end" in cli("sub", "events.#.a").ends(2).stderr
