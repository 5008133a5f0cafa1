"""Every example as a user runs it: in processes of its own, against what really happens on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

import raw
from daemoneye_eventbus import EventBus, ProcessEvent, os_bytes, os_text
from programs import DEADLINE, EXAMPLES, complete, wait_for

# As a shell without job control starts it with &.
IN_BACKGROUND = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
SLEEP = shutil.which("sleep") or "/bin/sleep"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the examples are run with sockets and signals of Unix")


@pytest.fixture(autouse=True)
def children_show_warnings(monkeypatch):
    """What was forgotten to be closed is then in their output, where the tests see it."""
    monkeypatch.setenv("PYTHONWARNINGS", "default,ignore:daemoneye_eventbus is a debug build:RuntimeWarning")


class Example:
    """A running example; `text` is everything it has printed."""

    def __init__(self, script, *arguments, before=()):
        self.output = Path(arguments[0]).parent / f"{script}.{time.monotonic_ns()}.out"
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                [*before, sys.executable, str(EXAMPLES / script), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    @property
    def text(self):
        return self.output.read_text(errors="replace")

    def until(self, pattern):
        deadline = time.monotonic() + DEADLINE
        while not (found := re.search(pattern, self.text, re.MULTILINE)):
            assert time.monotonic() < deadline, f"no {pattern!r} in: {self.text}"
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.text}"
            time.sleep(0.02)
        return found

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        code = self.process.wait(DEADLINE)
        assert "Traceback" not in self.text, self.text
        return code


@pytest.fixture
def run():
    with contextlib.ExitStack() as stack:

        def start(script, *arguments, **options):
            example = Example(script, *arguments, **options)
            stack.callback(example.process.wait, DEADLINE)
            stack.callback(example.process.kill)
            return example

        yield start


@pytest.fixture
def path(folder):
    return folder / "bus.sock"


@pytest.fixture
def broker(run, path):
    broker = run("broker.py", path)
    broker.until("listening")
    return broker


@pytest.fixture
async def events(broker, path):
    async with EventBus.connect(path) as bus, bus.subscribe(ProcessEvent) as events:
        yield events


@pytest.fixture
def collector(events, run, path):
    """Running after ``events`` was subscribed, so that nothing it says is missed."""
    return run("process_collector.py", path, "--interval", "0.05")


@contextlib.contextmanager
def child(*command, **options):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait(DEADLINE)


async def story(events, pid, *kinds):
    """The events of one process, in order, until all of ``kinds`` have come."""
    seen = []
    async with asyncio.timeout(DEADLINE):
        async for received in events:
            if received.event.pid == pid:
                seen.append(received)
                if [one.topic.rpartition(".")[2] for one in seen if one.topic.rpartition(".")[2] in kinds] == list(
                    kinds
                ):
                    return seen
    raise AssertionError(f"{pid}: {seen}")


async def first(events, condition):
    async with asyncio.timeout(DEADLINE):
        async for received in events:
            if condition(received):
                return received
    raise AssertionError("the subscription ended")


def load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- the small ones


def test_quickstart_prints_what_the_readme_says(folder, path):
    """In a copy: at the address that it shows, whoever reads the README may have a broker."""
    shown = (EXAMPLES / "quickstart.py").read_text(encoding="utf-8")
    assert shown.count('"/tmp/daemoneye.sock"') == 1
    copy = folder / "quickstart.py"
    copy.write_text(shown.replace("/tmp/daemoneye.sock", str(path)), encoding="utf-8")
    done = complete(copy)
    assert path.with_suffix(".sock.lock").exists()
    assert (done.returncode, done.stdout, done.stderr) == (0, "events.process.new 1234 correlation-123\n", "")


def test_overflow_accounts_for_every_event():
    done = complete("overflow.py")
    assert (done.returncode, done.stderr) == (0, "")
    rows = re.findall(r"^(\w+): published 1000 = read (\d+) \+ dropped (\d+)$", done.stdout, re.MULTILINE)
    assert [policy for policy, _, _ in rows] == ["drop_oldest", "drop_newest", "block"]
    assert all(int(read) + int(dropped) == 1000 for _, read, dropped in rows)
    assert int(rows[0][2]) > 0
    assert int(rows[1][2]) > 0
    assert int(rows[2][2]) == 0


@pytest.mark.parametrize("script", ["broker.py", "process_collector.py", "subscriber.py", "live_view.py", "demo.py"])
def test_help(script):
    done = complete(script, "--help")
    assert done.returncode == 0
    assert "usage" in done.stdout


def test_broker_stops_on_a_signal_and_leaves_no_socket(run, path):
    for number in (signal.SIGTERM, signal.SIGINT):
        broker = run("broker.py", path)
        broker.until("listening")
        assert path.stat().st_mode & 0o777 == 0o600
        assert broker.stop(number) == 0
        assert not path.exists()


def test_second_broker_says_so_in_one_line(broker, path):
    done = complete("broker.py", str(path))
    assert done.returncode == 1
    assert str(broker.process.pid) in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("script", ["process_collector.py", "subscriber.py", "live_view.py", "broker.py"])
def test_a_kill_ends_what_a_script_started_in_the_background(run, broker, path, script):
    """A shell without job control has such a process ignore interrupts."""
    example = run(script, path.with_suffix(".2") if script == "broker.py" else path, before=IN_BACKGROUND)
    if script == "broker.py":
        example.until("listening")
    else:
        wait_for(lambda: script.partition(".")[0] in clients_of(path))
    assert example.stop() == 0


def clients_of(path):
    command = [sys.executable, "-m", "daemoneye_eventbus", "clients", "--path", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=True).stdout


@pytest.mark.parametrize("script", ["process_collector.py", "subscriber.py", "live_view.py"])
def test_without_address_the_error_is_one_line(script):
    environment = {name: value for name, value in os.environ.items() if name != "DAEMONEYE_BROKER_SOCKET"}
    done = complete(script, env=environment)
    assert done.returncode == 1
    assert "DAEMONEYE_BROKER_SOCKET" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("script", ["broker.py", "process_collector.py", "subscriber.py", "live_view.py"])
def test_a_bad_address_is_one_line(script):
    done = complete(script, "--instance", "a b")
    assert done.returncode == 1
    assert "a b" in done.stderr
    assert done.stderr.count("\n") == 1


async def test_subscriber_prints_a_line_per_event_and_nothing_that_moves_the_cursor(run, broker, path):
    subscriber = run("subscriber.py", path, "events.process.*")
    subscriber.until("subscribed")
    async with EventBus.connect(path) as bus:
        event = ProcessEvent(pid=77, name="evil\x1b[2J\u202e", metadata={"user": "root"})
        await bus.publish(event, topic="events.process.start")
    subscriber.until(r"events\.process\.start pid=77 name=evil\\x1b\[2J\\u202e user=root")
    assert subscriber.stop() == 0


async def test_subscriber_takes_patterns_where_the_broker_is_known(run, broker, path, monkeypatch):
    """The first one was taken for a path, and waited for."""
    monkeypatch.setenv("DAEMONEYE_BROKER_SOCKET", str(path))
    monkeypatch.chdir(path.parent)
    subscriber = run("subscriber.py", "events.process.*", "events.network.#")
    subscriber.until(r"subscribed to events\.process\.\*, events\.network\.#")
    assert subscriber.stop() == 0
    subscriber = run("subscriber.py", path)
    subscriber.until("subscribed to events.#")
    assert subscriber.stop() == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
async def test_a_full_disk_is_one_line(broker, path):
    with open("/dev/full", "wb") as full:
        for script, where in (("subscriber.py", path), ("broker.py", path.with_suffix(".2"))):
            with subprocess.Popen(
                [sys.executable, str(EXAMPLES / script), str(where)], stdout=full, stderr=subprocess.PIPE, text=True
            ) as child:
                if script == "subscriber.py":
                    assert await asyncio.to_thread(child.stderr.readline) == "subscribed to events.#\n"
                    async with EventBus.connect(path) as bus:
                        await bus.publish(ProcessEvent(1, "x"))
                said = await asyncio.to_thread(child.stderr.read)
                assert (child.wait(DEADLINE), said.count("\n")) == (1, 1), said
                assert "No space left" in said


def publish_beyond_the_calendar(path):
    """A process event with a time that no ``datetime`` can hold."""
    peer = raw.Raw(str(path))
    with contextlib.closing(peer):
        peer.connect()
        message = raw.Message("events.process.start", raw.process_event(88, "late"), timestamp_ns=2**62 * 10**9)
        peer.send(message.encode())
        peer.barrier()


async def test_a_time_beyond_the_calendar_does_not_end_the_subscriber(run, broker, path):
    subscriber = run("subscriber.py", path, "events.process.*")
    subscriber.until("subscribed")
    publish_beyond_the_calendar(path)
    subscriber.until(rf"^{2**62}000000000ns events\.process\.start pid=88 name=late")
    assert subscriber.stop() == 0


async def test_subscriber_survives_a_reader_that_has_seen_enough(broker, path):
    command = shlex.join([sys.executable, str(EXAMPLES / "subscriber.py"), str(path)]) + " | head -n 1"
    shell = subprocess.Popen(
        ["bash", "-o", "pipefail", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        async with EventBus.connect(path) as bus, asyncio.timeout(DEADLINE):
            while shell.poll() is None:
                await bus.publish(ProcessEvent(pid=1, name="one"))
                await asyncio.sleep(0.05)
    finally:
        shell.kill()
        out, err = shell.communicate(timeout=DEADLINE)
    assert (shell.returncode, out.count(b"\n")) == (0, 1)
    assert b"Traceback" not in err
    assert b"Exception ignored" not in err


# -- the collector, against real processes


async def test_collector_begins_with_what_runs(events, collector):
    received = await first(events, lambda one: one.event.pid == os.getpid())
    me = psutil.Process()
    assert received.topic == "events.process.start"
    assert received.event.name == me.name()
    assert received.event.ppid == os.getppid()
    assert received.event.metadata["user"] == me.username()
    assert received.correlation_metadata.workflow_stage == "snapshot"


async def test_collector_tells_a_new_broker_everything_again(run, broker, collector, events, path):
    """As an agent that embeds the broker and is restarted: it knows nothing of what was published before."""
    await first(events, lambda one: one.event.pid == os.getpid())
    with child(SLEEP, "4711.5") as process:
        await story(events, process.pid, "start")
        # It shall not be back before there is a subscription.
        collector.process.send_signal(signal.SIGSTOP)
        broker.process.kill()
        broker.process.wait(DEADLINE)
        run("broker.py", path).until("listening")
        async with EventBus.connect(path) as bus, bus.subscribe(ProcessEvent) as new:
            collector.process.send_signal(signal.SIGCONT)
            again = await first(new, lambda one: one.event.pid == process.pid)
            assert again.topic == "events.process.start"
            assert again.correlation_metadata.workflow_stage == "snapshot"
    assert collector.stop() == 0


async def test_collector_tells_start_and_stop_of_a_real_process(events, collector):
    await first(events, lambda one: one.event.pid == os.getpid())
    before = datetime.now(UTC)
    with child(SLEEP, "1234.5") as process:
        (start,) = await story(events, process.pid, "start")
        assert start.event.name == "sleep"
        assert start.event.command_line == f"{SLEEP} 1234.5"
        assert start.event.executable_path == os.path.realpath(SLEEP)
        assert start.event.ppid == os.getpid()
        assert start.event.metadata["user"] == psutil.Process().username()
        assert start.event.metadata["collector"] == "process_collector"
        # The kernel counts starts in ticks from a boot time in whole seconds.
        assert abs(start.event.start_time - before) < timedelta(seconds=3)
        assert start.correlation_metadata.workflow_stage == "watch"
    stop = (await story(events, process.pid, "stop"))[-1]
    assert stop.event.command_line == start.event.command_line
    assert stop.event.start_time == start.event.start_time
    assert collector.stop() == 0


async def test_collector_tells_when_a_process_becomes_another_program(events, collector):
    await first(events, lambda one: one.event.pid == os.getpid())
    script = f"import os, sys; sys.stdin.readline(); os.execv({SLEEP!r}, ['sleep', '4321'])"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as process:
        try:
            await first(events, lambda one: one.event.pid == process.pid and "execv" in (one.event.command_line or ""))
            process.communicate(b"\n", timeout=0.2)
        except subprocess.TimeoutExpired:
            modify = await first(events, lambda one: one.event.pid == process.pid and one.event.name == "sleep")
            assert modify.topic == "events.process.modify"
            assert modify.event.command_line == "sleep 4321"
        finally:
            process.kill()


async def test_name_that_is_not_unicode_is_seen_and_reversible(events, collector, tmp_path):
    raw = b"bad\xff\xfename"
    program = os.path.join(os.fsencode(tmp_path), raw)  # pathlib has no paths of bytes
    shutil.copy(SLEEP, program)
    with child(program, "77") as process:
        (start,) = await story(events, process.pid, "start")
    assert os_bytes(start.event.name) == raw
    assert start.event.name == os_text(os.fsdecode(raw))
    assert os_bytes(start.event.executable_path) == program


async def test_zombie_keeps_what_was_known_of_it(events, collector):
    with child(SLEEP, "55.5") as process:
        await story(events, process.pid, "start")
        process.send_signal(signal.SIGKILL)
        # Nobody has waited for it yet: it stays as a zombie, which has neither command line nor executable.
        modify = (await story(events, process.pid, "modify"))[-1]
        assert modify.event.metadata["status"] == "zombie"
        assert modify.event.command_line == f"{SLEEP} 55.5"
    await story(events, process.pid, "stop")


async def test_processes_that_live_a_moment_harm_nobody(events, collector):
    await first(events, lambda one: one.event.pid == os.getpid())
    truth = shutil.which("true")
    pids = set()
    for _ in range(200):
        process = await asyncio.create_subprocess_exec(truth)
        pids.add(process.pid)
        await process.wait()
        await asyncio.sleep(0)
    seen = []

    def of_kind(kind):
        ours = [one for one in seen if one.topic.endswith(kind) and one.event.pid in pids]
        return sorted((one.event.pid, one.event.start_time) for one in ours)

    with child(SLEEP, "99") as last:
        async with asyncio.timeout(DEADLINE):
            async for received in events:
                seen.append(received)
                if received.event.pid == last.pid:
                    break
            # They ended before it began; some ends may be told after it.
            while of_kind("start") != of_kind("stop"):
                seen.append(await events.get())
    started = of_kind("start")
    assert len(set(started)) == len(started)
    assert collector.process.poll() is None, collector.text


@pytest.mark.parametrize("letter", [b"x", b"\xff"])
async def test_enormous_command_line_does_not_hide_a_process(events, collector, letter):
    # Arguments of one process may have megabytes together, 128 KiB each.
    arguments = [letter * 100_000] * 15
    with child(sys.executable, "-c", "import time; time.sleep(60)", *arguments) as process:
        (start,) = await story(events, process.pid, "start")
    assert start.event.metadata["truncated"] == "command_line"
    assert len(os_bytes(start.event.command_line)) == 32_768


def test_what_may_not_be_read_is_left_out(monkeypatch):
    collector = load("process_collector")

    def denied(*_):
        raise psutil.AccessDenied

    process = psutil.Process()
    for name in ("cmdline", "exe", "username"):
        monkeypatch.setattr(psutil.Process, name, denied)
    event = collector.describe(process, None)
    assert event.name == process.name()
    assert (event.command_line, event.executable_path) == (None, None)
    assert "user" not in event.metadata


def test_process_that_vanishes_while_it_is_looked_at_is_skipped(monkeypatch):
    collector = load("process_collector")
    name = psutil.Process.name

    def vanished(process):
        if process.pid == os.getpid():
            raise psutil.NoSuchProcess(process.pid)
        return name(process)

    monkeypatch.setattr(psutil.Process, "name", vanished)
    assert os.getpid() not in {process.pid for process in collector.scan({})}


def test_reused_pid_is_another_process():
    collector = load("process_collector")
    old, new = (type("Reused", (), {"pid": 7})() for _ in range(2))
    before, after = {old: ProcessEvent(pid=7, name="old")}, {new: ProcessEvent(pid=7, name="new")}
    assert [(kind, event.name) for kind, event in collector.changes(before, after)] == [
        ("stop", "old"),
        ("start", "new"),
    ]


async def test_collector_waits_for_a_broker_that_starts_later(run, path):
    collector = run("process_collector.py", path, "--interval", "0.05")
    await asyncio.sleep(0.5)
    run("broker.py", path).until("listening")
    async with EventBus.connect(path) as bus, bus.subscribe(ProcessEvent) as events:
        with child(SLEEP, "66") as process:
            await story(events, process.pid, "start")
    assert collector.stop() == 0


# -- the view


async def test_live_view_prints_lines_into_a_pipe(run, broker, path):
    view = run("live_view.py", path)
    async with EventBus.connect(path) as bus:
        async with asyncio.timeout(DEADLINE):
            while (await bus.statistics()).active_subscribers == 0:
                await asyncio.sleep(0.02)
        event = ProcessEvent(pid=4242, name="[bold]\x07", command_line="a\nb", metadata={"user": "root"})
        await bus.publish(event, topic="events.process.start")
    view.until(r"start +4242 \[bold\]\\x07 +root +a\\nb")
    publish_beyond_the_calendar(path)
    view.until(r"^\?\?:\?\?:\?\?\.\?\?\? start +88 late")
    assert view.stop(signal.SIGINT) == 0
    assert "2 events (2 start, 0 modify, 0 stop)" in view.text
