"""What the documentation shows is run, and what it states of defaults and reasons is compared with the library."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from daemoneye_eventbus import (
    Broker,
    BrokerConfig,
    BrokerStatistics,
    ClientConfig,
    ClientInfo,
    ConnectionLost,
    EventBus,
    ProcessEvent,
)
from daemoneye_eventbus._cli.address import token_from
from programs import DEADLINE, complete, wait_for

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)

PAGES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("**/*.md"))

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the documentation speaks of sockets of Unix")


@pytest.fixture(autouse=True)
def children_show_warnings(monkeypatch):
    """What was forgotten to be closed is then in their output, where the tests see it.

    What Python 3.12 says of a fork beside threads stands on the page itself.
    """
    passed_over = ("daemoneye_eventbus is a debug build:RuntimeWarning", "This process (pid=:DeprecationWarning")
    monkeypatch.setenv("PYTHONWARNINGS", ",ignore:".join(("default", *passed_over)))


def blocks(page):
    """(language, title, text) of each fenced block."""
    return [(one[1], one[2], one[3]) for one in BLOCK.finditer((ROOT / page).read_text(encoding="utf-8"))]


def run(script):
    done = complete(script)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture
def broker_elsewhere(folder, monkeypatch):
    """A broker in another process, found by the environment as the pages say."""
    path = folder / "bus.sock"
    broker = subprocess.Popen([sys.executable, "-m", "daemoneye_eventbus", "broker", str(path)])
    monkeypatch.setenv("DAEMONEYE_BROKER_SOCKET", str(path))
    wait_for(path.exists)
    yield path
    broker.terminate()
    assert broker.wait(DEADLINE) == 0


def test_tutorial_does_what_it_says(tmp_path, folder):
    """At addresses of its own: at those that it names, whoever reads it may have a broker."""
    titled = [(title, text) for _, title, text in blocks("docs/tutorial.md") if title]
    for name in ("tutorial", "nobody-here"):
        assert any(f'instance="{name}"' in text for _, text in titled)
        for shown in ('instance="{}"', "/tmp/daemoneye-{}.sock"):
            here, there = shown.format(name), shown.format(f"{folder.name}-{name}")
            titled = [(title, text.replace(here, there)) for title, text in titled]
    scripts = {title: text for title, text in titled if title.endswith(".py")}
    prints = {title.removesuffix(" prints"): text for title, text in titled if title.endswith(" prints")}
    assert set(prints) == set(scripts) - {"subscriber.py"}
    for name, text in scripts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with contextlib.ExitStack() as stack:
        # A lock file stays where its broker was.
        stack.callback(Path(f"/tmp/daemoneye-{folder.name}-tutorial.sock.lock").unlink, missing_ok=True)
        outputs = {}

        def background(name, until):
            outputs[name] = tmp_path / f"{name}.out"
            with outputs[name].open("wb") as out:
                process = subprocess.Popen(
                    [sys.executable, str(tmp_path / name)],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                )
            stack.callback(process.wait, DEADLINE)
            stack.callback(process.kill)
            wait_for(lambda: until in outputs[name].read_text())
            return process

        broker = background("broker.py", "listening")
        assert outputs["broker.py"].read_text() == prints["broker.py"]
        subscriber = background("subscriber.py", "subscribed")
        for name in scripts:
            if name not in outputs:
                assert run(tmp_path / name) == prints[name], name
        for name, process in (("subscriber.py", subscriber), ("broker.py", broker)):
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE) == 0, outputs[name].read_text()
            assert outputs[name].read_text().endswith("stopped\n")
    assert re.search(rf"^events\.process\.start {os.getpid()} ", outputs["subscriber.py"].read_text(), re.MULTILINE)


def test_readme_shows_the_quickstart():
    python = [text for language, _, text in blocks("README.md") if language == "python"]
    quickstart = (ROOT / "examples/quickstart.py").read_text(encoding="utf-8")
    assert quickstart.endswith(python[0])
    assert quickstart.removesuffix(python[0]).startswith('"""')


def test_readme_collector_and_subscriber_meet(broker_elsewhere, tmp_path):
    """The README's other two programs, with this test's broker in place of theirs."""
    collector, subscriber = [
        text.replace("/tmp/daemoneye.sock", str(broker_elsewhere))
        for language, _, text in blocks("README.md")
        if language == "python"
    ][1:]
    (tmp_path / "collector.py").write_text(collector, encoding="utf-8")
    heard = tmp_path / "heard"
    with heard.open("wb") as out:
        listening = subprocess.Popen([sys.executable, "-u", "-c", subscriber], stdout=out, stderr=subprocess.STDOUT)
    try:
        stats = [sys.executable, "-m", "daemoneye_eventbus", "stats", "--path", str(broker_elsewhere)]
        subscribed = re.compile(rb"^active_subscribers +1$", re.MULTILINE)
        wait_for(lambda: subscribed.search(subprocess.run(stats, capture_output=True, check=True).stdout))
        assert run(tmp_path / "collector.py") == ""
        wait_for(lambda: f"events.process.start ProcessEvent(pid={os.getpid()}, " in heard.read_text())
    finally:
        listening.kill()
        listening.wait(DEADLINE)


def test_port_of_a_busrt_program_is_shown_and_prints_what_is_shown():
    titled = {title: text for _, title, text in blocks("docs/migration-busrt.md")}
    name = "examples/busrt_port.py"
    assert titled[name] == (ROOT / name).read_text(encoding="utf-8")
    assert run(ROOT / name) == titled[f"{name} prints"]


HOW_TO = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("how-to-*.md"))
# Run as a project of its own by test_testing_helper.py, and under other uids by test_deployment.py.
HOW_TO = [page for page in HOW_TO if page not in {"docs/how-to-testing.md", "docs/how-to-deployment.md"}]


@pytest.mark.usefixtures("broker_elsewhere")
@pytest.mark.parametrize("page", HOW_TO)
def test_how_to_does_what_it_says(page, tmp_path):
    titled = [(title, text) for _, title, text in blocks(page) if title]
    scripts = {title: text for title, text in titled if title.endswith(".py")}
    prints = {title.removesuffix(" prints"): text for title, text in titled if title.endswith(" prints")}
    assert scripts.keys() == prints.keys()
    for name, text in scripts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert run(tmp_path / name) == prints[name], name


@pytest.mark.parametrize("page", PAGES)
def test_blocks_run_and_print_what_is_shown(page, tmp_path):
    """Blocks without a title stand for themselves; titled ones are run where their page is."""
    found = blocks(page)
    for index, (language, title, text) in enumerate(found):
        if language == "python" and not title:
            (tmp_path / "block.py").write_text(text, encoding="utf-8")
            shown = found[index + 1] if index + 1 < len(found) else ("", "", "")
            expected = shown[2] if shown[1] == "prints" else ""
            assert run(tmp_path / "block.py") == expected


def test_the_deployment_page_reads_a_token_as_the_command_line_does(tmp_path):
    shown = next(text for _, _, text in blocks("docs/how-to-deployment.md") if "def with_token" in text)
    program = {}
    exec(shown, program)
    file = tmp_path / "token"
    file.touch(0o600)
    for end in (b"", b"\n", b"\r\n", b" \n", b"\v\n\n"):
        file.write_bytes(b"\t" + 32 * b"0" + end)
        token = token_from(str(file))
        assert program["with_token"](file) == (BrokerConfig(token=token), ClientConfig(token=token)), end


@pytest.mark.limit(300)
def test_blocks_type_check(tmp_path):
    """All blocks of all pages at once: mypy starts slowly."""
    for page in ["README.md", *PAGES]:
        for index, (language, title, text) in enumerate(blocks(page)):
            # What is shown of busrt has no types.
            if language == "python" and not (title or "").startswith("with busrt"):
                name = f"{Path(page).stem}_{index}".replace("-", "_")
                (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    options = ["--strict", "--config-file", os.devnull, "--cache-dir", str(tmp_path / "cache")]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("config", "number"), [(BrokerConfig, 0), (ClientConfig, 1)])
def test_operations_lists_every_setting_with_its_default(config, number):
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    rows = text.split("| setting | default |")[1 + number].split("\n\n")[0]
    documented = {
        name: ast.literal_eval(default)
        for name, default in re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", rows, re.MULTILINE)
    }
    assert documented == {field.name: field.default for field in dataclasses.fields(config)}


def named_in_table(text, head):
    """What stands in backquotes in the first column of the table that begins with ``head``."""
    rows = text.split(head, 1)[1].split("\n\n")[0]
    return [name for row in re.findall(r"^\| (`[^|]*) \|", rows, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]


async def test_operations_lists_every_counter(eventbus_broker, eventbus_bus):
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    counters = {field.name for field in dataclasses.fields(BrokerStatistics)}
    assert set(named_in_table(text, "| counter of the broker |")) == counters
    who = {"id", "name", "uid", "pid", "dialect", "peer"}
    counters = {field.name for field in dataclasses.fields(ClientInfo)} - who
    assert set(named_in_table(text, "| counter of a client (`ClientInfo`) |")) == counters
    async with EventBus.connect(eventbus_broker.path) as remote:
        for bus in (eventbus_bus, remote):
            listed = named_in_table(text, "| counter of a bus (`local_statistics()`) |")
            assert sorted(listed) == sorted(bus.local_statistics())


def test_operations_lists_every_reason():
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    documented = [
        re.findall(r"^\| `(\w+)` \|", part.split("\n\n")[0], re.MULTILINE) for part in text.split("| reason |")[1:3]
    ]
    # Python shows only what has occurred, so the whole list is read where it is made.
    core = ROOT / "rust/core/src"
    dropped = re.findall(r'Self::\w+ => "(\w+)"', (core / "queue/drop_reason.rs").read_text(encoding="utf-8"))
    refused = re.findall(
        r'^ {4}\w+ = "(\w+)",$', (core / "broker/statistics.rs").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert [sorted(one) for one in documented] == [sorted(dropped), sorted(refused)]


async def test_the_policy_that_disconnects_does(path):
    """With any other ``overflow``, a reader whose loop runs is never disconnected."""
    rows = (ROOT / "docs/how-to-loss.md").read_text(encoding="utf-8").split("| the reader wants |")[1]
    (overflow, policy) = re.search(r'to be disconnected.*\| `"(\w+)"` \| `"(\w+)"` \|', rows).groups()
    config = ClientConfig(broker_overflow=policy)
    async with Broker(path) as broker, EventBus.from_broker(broker) as bus:
        async with (
            EventBus.from_broker(broker, config=config) as reading,
            reading.subscribe(ProcessEvent, overflow=overflow, queue_messages=10) as events,
        ):
            await bus.publish_many(ProcessEvent(pid, "x") for pid in range(100))
            with pytest.raises(ConnectionLost):
                while True:
                    await events.get(timeout=DEADLINE)


def test_the_wire_lists_every_code():
    """With a star behind those after which nobody connects again."""
    rows = (ROOT / "docs/wire.md").read_text(encoding="utf-8").split("| code | about |")[1].split("\n\n")[0]
    documented = {
        (code, bool(star))
        for row in re.findall(r"^\| (`[^|]*) \|", rows, re.MULTILINE)
        for code, star in re.findall(r"`(\w+)`( \*)?", row.replace("`id`", ""))
    }
    source = (ROOT / "rust/core/src/wire/text/code.rs").read_text(encoding="utf-8")
    names = dict(re.findall(r'Self::(\w+) => "(\w+)"', source))
    final = set(re.findall(r"Self::(\w+)", source.split("fn is_final")[1].split("\n    }")[0]))
    # `unknown` is what a code of a newer broker is read as.
    assert documented == {(name, code in final) for code, name in names.items() if name != "unknown"}


@pytest.mark.parametrize("page", ["README.md", *PAGES])
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", (ROOT / page).read_text(encoding="utf-8")):
        if "://" not in target:
            assert (ROOT / page).parent.joinpath(target).exists(), target
