"""The end of the interpreter, and fork: right exit codes, silence, no hang."""

import asyncio
import os
import signal
import socket
import stat
import time

import psutil
import pytest

from daemoneye_eventbus import EventBus
from support import process

ROUNDS = int(os.environ.get("DAEMONEYE_TEST_EXITS", "40")) // 5 or 1
ENDS = {
    "script": (0, ""),
    "thread": (0, ""),
    "exit3": (3, ""),
    "error": (1, "LookupError: uncaught\n"),
    "sigint": (-signal.SIGINT, "KeyboardInterrupt\n"),
}


@pytest.mark.limit(180)
def test_exit_while_threads_make_connections(folder, program):
    for _ in range(3):
        program("exit_while_connecting.py", str(folder / "nobody.sock")).finish(timeout=60)


@pytest.mark.limit(180)
def test_exit_while_daemon_threads_run_python_code_inside_native_calls(folder, program):
    """Before 3.14 the interpreter unwinds such threads; half of these programs were once aborted for it."""
    for number in range(12):
        program("exit_in_native_calls.py", str(folder / str(number))).finish(timeout=60)


def test_exit_while_daemon_threads_ask_metadata_for_its_class(program):
    """Nine of ten of these programs were once aborted."""
    for _ in range(6):
        program("exit_in_instance_checks.py").finish()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.limit(120 + 10 * ROUNDS)
def test_exit_with_a_live_broker_under_load(folder, program, end):
    code, last = ENDS[end]
    for number in range(ROUNDS):
        path = str(folder / f"{number}.sock")
        child = program("exit_under_load.py", path, end)
        assert child.line() == "busy"
        begin = time.monotonic()
        child.child.wait(10)
        took = time.monotonic() - begin
        said = child.finish(code=code, stderr=None)
        assert took < 2, f"{took:.1f} s to end"
        without_warnings = said
        if last:
            assert said.startswith("Traceback (most recent call last):")
            assert said.endswith(last)
            assert said.count("Traceback") <= 2
            without_warnings = ""
        for word in ("Fatal", "panicked", "Aborted", "never retrieved", "Exception ignored"):
            assert word not in said, said
        assert without_warnings == "", said
        assert not os.path.exists(path), "the broker's socket is gone with the broker"


@pytest.mark.parametrize("flags", [("-X", "dev"), ("-W", "error")], ids=["dev", "error"])
def test_a_clean_program_has_no_warnings_in_development_mode(path, program, flags):
    broker = program("broker.py", path, flags=flags)
    broker.json()
    count = 500
    spec = {"patterns": ["events.#"], "expect": count}
    reader = program("subscriber.py", path, spec, flags=flags)
    reader.json()
    source = program("publisher.py", path, count, flags=flags)
    source.json()
    assert source.json() == {"published": count}
    assert reader.json()["received"] == count
    for child in (source, reader, broker):
        child.finish()


def test_terminated_broker_leaves_a_path_that_works_again(path, program):
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
        broker = program("broker.py", path)
        broker.json()
        broker.signal(number)
        broker.finish(code=-number)
    begin = time.monotonic()
    broker = program("broker.py", path)
    broker.json()
    assert time.monotonic() - begin < 3
    broker.finish()
    assert not os.path.exists(path)


def test_every_method_in_a_forked_child_says_so(path, program):
    parent = program("forked.py", path, "methods")
    lines = []
    while True:
        try:
            line = parent.json(8)
        except AssertionError:
            raise AssertionError(f"hangs in the call after {lines[-1:]}") from None
        if "parent" in line:
            break
        lines.append(line)
    assert line == {"parent": "fine", "status": 0}
    said = {item["call"]: item["said"] for item in lines if "call" in item}
    # Of an open and a closed bus of each kind, and of the broker.
    assert len(said) == 4 * 19 + 8
    assert {call: text for call, text in said.items() if text != "ForkedProcess"} == {}
    assert max(item["took"] for item in lines if "call" in item) < 1
    parent.finish()
    assert not os.path.exists(path)


@pytest.mark.limit(120)
def test_a_forked_child_waits_for_no_lock_of_a_missing_thread(path, program):
    """One child in thirty once hung when it asked for its parent's statistics."""
    parent = program("forked_busy.py", path, 200)
    parent.json()
    source = program("publisher.py", path, 10**9)
    source.json()
    parent.tell()
    assert parent.json(90) == {"ends": {"0": 200}, "busy": True}
    source.kill()
    parent.finish()


@pytest.mark.limit(120)
def test_a_forked_child_waits_for_no_thread_that_was_dropping_events(path, program):
    """One child in 130 once hung in the fork's hooks."""
    parent = program("forked_dropping.py", path, 1000)
    parent.json()
    source = program("publisher.py", path, 10**9, {"fields": {"executable_path": "x" * 60_000}})
    source.json()
    parent.tell()
    assert parent.json(90) == {"ends": {"0": 1000}, "busy": True}
    source.kill()
    parent.finish()


def test_fork_inside_a_coroutine(path, program):
    parent = program("forked_inside.py", path)
    assert parent.line(8) == "0"
    parent.finish()


async def test_a_forked_child_that_runs_its_parents_loop_says_so_once(broker, path, program):
    """It once logged an exception in each turn, for each connection that was readable."""
    parent = program("forked_loop.py", path)
    child = (await parent.answer())["child"]
    async with EventBus.connect(path) as bus:
        await bus.publish(process(7))
        await bus.flush()
    parent.tell()
    ((logger, text),) = await parent.answer()
    assert logger == "daemoneye_eventbus.client"
    assert text.startswith("a forked child runs its parent's event loop")
    assert f"belongs to process {parent.pid}, and this is process {child}" in text
    assert await parent.answer() == [[0, 1, 7]] * 2
    await asyncio.to_thread(parent.finish)


async def test_a_new_bus_in_an_inherited_loop_is_told_of_the_loop(broker, path, program):
    """The error told of an object of the parent's, and to make another, which the child had just done."""
    parent = program("forked_new_bus.py", path)
    said = await parent.answer()
    child, status = await parent.answer()
    assert status == 0
    assert len(said) == 2
    for text, owner, current in said:
        assert (owner, current) == (parent.pid, child)
        assert text.startswith(f"the running event loop belongs to process {owner}, and this is process {current}")
        assert "asyncio.run" in text
    await asyncio.to_thread(parent.finish)


@pytest.mark.parametrize("block", ["broker", "remote", "local", "over_socket", "in_process"])
def test_an_exception_that_leaves_a_block_in_a_forked_child_is_kept(path, program, block):
    """``sys.exit(3)`` in a child forked within the block once became a traceback of `ForkedProcess` and code 1."""
    parent = program("forked_block.py", path, block)
    assert [parent.line(8) for _ in range(3)] == ["child 3", "child goes on: ForkedProcess", "parent 1"]
    parent.finish()


def test_a_forked_child_holds_neither_lock_nor_listener(path, program):
    parent = program("forked.py", path, "sleep")
    answers = {**parent.json(), **parent.json()}
    child = answers["child"]
    assert answers["sleeping"] == child
    try:
        parent.kill()
        assert psutil.pid_exists(child)
        assert answers["kept"] == [], "a socket of the bus survives in the child"
        with socket.socket(socket.AF_UNIX) as probe, pytest.raises(ConnectionRefusedError):
            probe.connect(path)
        begin = time.monotonic()
        successor = program("broker.py", path)
        successor.json(5)
        assert time.monotonic() - begin < 3
        source = program("publisher.py", path, 10)
        source.json()
        assert source.json()["published"] == 10
        source.finish()
        os.kill(child, signal.SIGTERM)
        time.sleep(0.1)
        assert stat.S_ISSOCK(os.stat(path).st_mode), "the child's end unlinks nothing"
        successor.finish()
    finally:
        os.kill(child, signal.SIGKILL) if psutil.pid_exists(child) else None


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
@pytest.mark.limit(60)
def test_multiprocessing(path, program, method):
    """spawn and forkserver work; a forked child may open a bus of its own."""
    parent = program("spawning.py", path, method)
    assert parent.line(40) == "fine"
    parent.finish(timeout=20)


def test_an_executed_program_inherits_no_socket(path, program):
    """exec from broker and client: close-on-exec everywhere."""
    code = "exec.py"
    child = program(code, path)
    assert child.json() == {"inherited": []}
    child.finish()
