"""Numbers that the documentation states in sentences are those of the code.

Settings, counters and reasons stand in tables that test_docs.py compares; these are limits that nobody can set. A row
names the sentence with its number and the constant that it speaks of, so that a change of either fails here.
"""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest

from daemoneye_eventbus import BrokerConfig, CorrelationMetadata, ProcessEvent, TopicError, TopicPattern
from daemoneye_eventbus._cli import exits, options

ROOT = Path(__file__).parent.parent
CORE, NATIVE, PYTHON = "rust/core/src", "rust/python/src", "python/daemoneye_eventbus"
UNITS = {"from_secs": 1, "from_millis": 1e-3, "from_micros": 1e-6}

OPERATIONS = [
    ("The answer to a wrong proof is delayed by {} s", f"{CORE}/broker/failed_proofs.rs", "FIRST", 0.1),
    ("failure of that uid, up to {} s", f"{CORE}/broker/failed_proofs.rs", "LONGEST", 1.6),
    ("After {} s without a failure", f"{CORE}/broker/failed_proofs.rs", "FORGIVEN", 60),
    ("without a failure it starts again at {} s", f"{CORE}/broker/failed_proofs.rs", "FIRST", 0.1),
    ("a shared secret on top, of {} bytes or more", f"{PYTHON}/_config.py", "_SHORTEST_TOKEN", 16),
    ("spends at most {} ms on one client's requests", f"{CORE}/broker/session/mod.rs", "VERBS_TURN", 0.2),
    ("requests, and about {} ms on its slow messages", f"{CORE}/broker/session/mod.rs", "SLOW_TURN", 2),
    ("A path has {} bytes at most on Linux", f"{CORE}/transport/address.rs", "LIMIT", 107),
    ("by uid; the first {} users", f"{CORE}/broker/statistics.rs", "MAX_UIDS", 64),
    ("waits in a ring of {} lines", f"{NATIVE}/logs.rs", "CAPACITY", 1024),
    ("is cut to {} characters", f"{NATIVE}/logs.rs", "MAX_TEXT", 300),
    ("a time has {} days at most", f"{CORE}/limits.rs", "MAX_DURATION", 7),
    ("a frame {} KiB to", f"{PYTHON}/_config.py", "_SMALLEST_FRAME", 1),
    ("KiB to {} MiB", f"{PYTHON}/_config.py", "_LARGEST_FRAME", 64),
    ("| topic | {} bytes |", f"{CORE}/topic/name.rs", "MAX_TOPIC_BYTES", 256),
    ("| `metadata` of an event | {} entries |", f"{CORE}/event/map.rs", "MAX_ENTRIES", 4096),
    ("and the root's | {} bytes |", f"{NATIVE}/events/correlation.rs", "MAX_ID", 256),
    ("| `workflow_stage` | {} bytes |", f"{NATIVE}/events/correlation.rs", "MAX_STAGE", 128),
    ("patterns and filters | {} KiB |", f"{CORE}/wire/frame.rs", "MAX_TEXT", 64),
    (
        "both filters of one subscription; {} times as many",
        f"{CORE}/broker/subscription.rs",
        "CLIENT_TERMS",
        16,
    ),
    ("all of a client, with {} MiB of text", f"{CORE}/broker/subscription.rs", "CLIENT_FILTER_BYTES", 1),
    ("`FrozenMap` included | {} entries |", f"{NATIVE}/mapping.rs", "MOST_ENTRIES", 65_536),
    ("An instance has 1 to {} letters", f"{CORE}/transport/address.rs", "INSTANCE_LIMIT", 64),
    ("The whole name has {} characters at most", f"{CORE}/transport/address/pipe.rs", "LIMIT", 256),
]
CLI = [
    ("values above {} characters are cut", f"{PYTHON}/_cli/lines.py", "_LONGEST", 200),
    ("longer than `decode` reads ({} MiB)", f"{PYTHON}/_cli/raw.py", "MAX_BODY", 256),
    ("owner can read, of {} bytes at most", f"{PYTHON}/_cli/address.py", "_LONGEST_TOKEN", 4096),
    ("and has {} MiB at most", f"{PYTHON}/_cli/reader.py", "LONGEST_LINE", 128),
]
TOPICS = [
    ("joined by dots, {} bytes at most", f"{CORE}/topic/name.rs", "MAX_TOPIC_BYTES", 256),
    ("a correlation\npattern of more than {} bytes", f"{CORE}/filter/glob.rs", "MAX_GLOB_BYTES", 256),
    ("no id of more than {} bytes", f"{CORE}/filter/glob.rs", "MAX_TEXT_BYTES", 1024),
]
WIRE = [
    ("UTF-8, {} KiB at most, nested", f"{CORE}/wire/frame.rs", "MAX_TEXT", 64),
    ("at most, nested {} deep at most", f"{CORE}/wire/text/mod.rs", "MAX_NESTING", 32),
    ("When {} answers or 64 KiB of them", f"{CORE}/queue/mod.rs", "MAX_ANSWERS", 1024),
    ("answers or {} KiB of them are unsent", f"{CORE}/queue/mod.rs", "MAX_ANSWER_BYTES", 64),
    ("It does the same at {} KiB of unsent", f"{CORE}/queue/inner.rs", "MAX_GAP_LISTS", 256),
    ("An answer holds as many as fit into {} KiB", f"{CORE}/broker/watching.rs", "PAGE", 32),
    ("Messages above {} KiB are dropped for it", f"{CORE}/broker/session/original/queue.rs", "MAX_BODY", 192),
]
COLLECTOR = [("Leaving `async with` flushes for {} seconds", f"{PYTHON}/_bus.py", "_FLUSH_SECONDS", 2)]
ROWS = [
    (f"docs/{page}.md", *row)
    for page, rows in {
        "operations": OPERATIONS,
        "cli": CLI,
        "topics": TOPICS,
        "wire": WIRE,
        "how-to-collector": COLLECTOR,
    }.items()
    for row in rows
]
# What the sentence counts in, where that is not the code's own unit.
SCALE = {"ms": 1e-3, "KiB": 1024, "MiB": 1024**2, "days": 24 * 3600}


def value(expression):
    """The number that a constant is set to: products of literals, and `Duration`s in seconds."""
    duration = re.fullmatch(r"Duration::(\w+)\((.*)\)", expression)
    if duration:
        return UNITS[duration[1]] * value(duration[2])
    product = 1
    for factor in expression.split("*"):
        product *= ast.literal_eval(factor.strip())
    return product


def constant(file, name):
    text = (ROOT / file).read_text(encoding="utf-8")
    found = re.search(rf"^\s*(?:pub(?:\([a-z]+\))? )?(?:const )?{name}: [^=]+ = ([^;\n]+);?$", text, re.MULTILINE)
    assert found, f"{name} is not in {file}"
    return value(found[1])


@pytest.mark.parametrize(("page", "sentence", "file", "name", "stated"), ROWS)
def test_a_stated_number_is_that_of_the_code(page, sentence, file, name, stated):
    text = (ROOT / page).read_text(encoding="utf-8")
    written = sentence.format(f"{stated:,}")
    assert " ".join(written.split()) in " ".join(text.split())
    unit = re.match(r" (\w+)", sentence.partition("{}")[2])
    assert constant(file, name) == pytest.approx(stated * SCALE.get(unit[1] if unit else "", 1))


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("correlation_id", "x" * 256, "x" * 257),
        ("workflow_stage", "x" * 128, "x" * 129),
        ("correlation_tags", {str(n): "" for n in range(64)}, {str(n): "" for n in range(65)}),
        ("correlation_tags", {"k" * 128: "v" * 1024}, {"k" * 129: ""}),
        ("correlation_tags", {"k": "é" * 512}, {"k": "é" * 513}),
    ],
)
def test_what_a_correlation_may_hold_is_as_the_table_says(field, good, bad):
    given = {"correlation_id": "c"}
    CorrelationMetadata(**given | {field: good})
    with pytest.raises(ValueError, match=field):
        CorrelationMetadata(**given | {field: bad})


def test_what_an_event_and_a_topic_may_hold_is_as_the_table_says():
    assert len(ProcessEvent(1, "x", metadata={str(n): "" for n in range(4096)}).metadata) == 4096
    with pytest.raises(ValueError, match=r"4097 entries are above the limit of 4096"):
        ProcessEvent(1, "x", metadata={str(n): "" for n in range(4097)})
    longest = "events." + "x" * 249
    assert TopicPattern(longest).matches(longest)
    with pytest.raises((TopicError, ValueError)):
        TopicPattern(longest + "x")


def test_the_unit_leaves_the_broker_what_its_defaults_need():
    text = (ROOT / "examples/daemoneye-eventbus.service").read_text(encoding="utf-8")
    unit = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    config = BrokerConfig()
    assert int(unit["LimitNOFILE"]) >= config.max_connections * 2
    assert int(unit["MemoryMax"].removesuffix("M")) * 1024**2 >= config.total_queue_bytes * 2
    drain = re.search(r"--drain (\d+)", unit["ExecStart"])
    assert drain
    assert int(unit["TimeoutStopSec"]) > float(drain[1]) + config.write_timeout
    assert unit["RestartPreventExitStatus"].split() == [str(exits.USAGE), str(exits.REFUSED)]
    assert unit["LimitCORE"] == "0"


def test_options_in_the_recipes_are_options():
    known = {options.flag(field.name) for field in dataclasses.fields(BrokerConfig)} | {"--drain", "--token-file"}
    for page in ("docs/how-to-deployment.md", "examples/daemoneye-eventbus.service"):
        lines = re.findall(r"^ExecStart=(.*)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
        assert lines
        assert {word for line in lines for word in line.split() if word.startswith("--")} <= known


def test_the_readme_tells_the_measured_speed():
    """As the tables of docs/performance.md have it."""
    page = (ROOT / "docs/performance.md").read_text(encoding="utf-8")

    def figures(table):
        rows = page.split(f"<!-- {table} -->", 1)[1].split("<!-- end -->", 1)[0]
        return {
            cells[0]: [float(cell.split()[0].replace(",", "")) for cell in cells[1:]]
            for cells in ([cell.strip() for cell in row.strip("|").split("|")] for row in rows.strip().splitlines()[2:])
        }

    rates, trips, fan_out = figures("one_to_one"), figures("round_trip"), figures("fan_out")
    asyncio_buses = ("nats", "redis", "busrt")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    def stated(start):
        """The first figure of each cell, which is of the run in the tables: the second is of a slower host."""
        row = next(line for line in readme.splitlines() if line.startswith(f"| {start} |"))
        return [cell.split(",", 1)[0].strip().removesuffix(" µs") for cell in row.strip("|").split("|")[1:]]

    def million(rows, *names):
        return f"{max(rows[name][0] for name in names) / 1e6:.1f} M"

    ours, zenoh, zmq, buses, floor = stated("events a second")
    assert ours == million(rates, "ours")
    assert zenoh == million(rates, "zenoh", "zenoh:recv")
    assert zmq == million(rates, "zmq")
    assert floor == million(rates, "floor")
    assert buses.endswith(million(rates, *asyncio_buses))
    ours, zenoh, zmq, buses, _ = stated("the same to ten subscribers, in total")
    assert [ours, zenoh, zmq] == [million(fan_out, name) for name in ("ours", "zenoh", "zmq")]
    assert buses.endswith(million(fan_out, *asyncio_buses))
    ours, zenoh, zmq, buses, floor = stated("round trip, median")
    assert [ours, zenoh, zmq, floor] == [f"{trips[name][0]:.0f}" for name in ("ours", "zenoh", "zmq", "floor")]
    assert buses == " to ".join(f"{edge(trips[name][0] for name in asyncio_buses):.0f}" for edge in (min, max))
    _rate, total, broker, *_rest = rates["ours"]
    cost = f"takes {total:.2f} µs of CPU time in all processes together, of which the broker takes {broker:.2f}"
    assert cost in " ".join(readme.split())
