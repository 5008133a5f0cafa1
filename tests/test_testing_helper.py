"""The fixtures that users of the package get: in this very file, and in a project of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from daemoneye_eventbus import Broker, BrokerConfig, ClientConfig, EventBus, ProcessEvent
from daemoneye_eventbus.testing import collect_events

CONFTEST = """
from daemoneye_eventbus.testing import collect_events  # imported before it is a plugin

pytest_plugins = ["daemoneye_eventbus.testing"]
"""
TEST = """
import pytest
from daemoneye_eventbus import BrokerConfig, EventBus, ProcessEvent
from daemoneye_eventbus.testing import collect_events

@pytest.mark.asyncio
async def test_with_a_name_that_is_as_long_as_names_of_tests_tend_to_be_when_they_say_what_they_are_about(
    eventbus_broker, eventbus_bus
):
    async with EventBus.connect(eventbus_broker.path) as remote, remote.subscribe(ProcessEvent) as events:
        await eventbus_bus.publish(ProcessEvent(1, "sh"))
        (one,) = await collect_events(events, 1)
        assert one.event.pid == 1
"""


async def test_bus_and_broker(eventbus_broker: Broker, eventbus_bus: EventBus):
    assert eventbus_broker.running
    assert len(str(eventbus_broker.path)) < 103
    async with eventbus_bus.subscribe(ProcessEvent) as events:
        await eventbus_bus.publish_many(ProcessEvent(pid, "sh") for pid in range(5))
        assert [one.event.pid for one in await collect_events(events, 3)] == [0, 1, 2]
        assert events.pending == 2


async def test_collect_says_what_came(eventbus_bus: EventBus):
    async with eventbus_bus.subscribe("events.#") as events:
        await eventbus_bus.publish(ProcessEvent(77, "only-one"))
        with pytest.raises(
            AssertionError, match=r"1 of 2 messages came within 0\.1 s, and 0 were dropped:\n.*only-one"
        ):
            await collect_events(events, 2, timeout=0.1)
        assert await collect_events(events, 0, timeout=0.1) == []
        with pytest.raises(AssertionError, match=r"0 of 1 messages came within 0\.1 s, and 0 were dropped$"):
            await collect_events(events, 1, timeout=0.1)


class TestConfig:
    @pytest.fixture
    def eventbus_broker_config(self):
        return BrokerConfig(token=b"0123456789abcdef")

    async def test_is_overridden(self, eventbus_broker: Broker):
        config = ClientConfig(token=b"0123456789abcdef")
        async with EventBus.connect(eventbus_broker.path, config=config) as bus:
            assert bus.state == "connected"


def run_pytest(tmp_path, mode, *, scope="function"):
    """A test run of its own, in which a warning is an error."""
    options = ["-q", "-W", "error", "-p", "no:cacheprovider", "-o", f"asyncio_mode={mode}", "--rootdir", str(tmp_path)]
    options += ["-o", f"asyncio_default_fixture_loop_scope={scope}"]
    options += ["-W", "ignore:daemoneye_eventbus is a debug build:RuntimeWarning"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        # A temporary directory too long for any socket.
        env={**os.environ, "TMPDIR": str(deep(tmp_path))},
    )


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_project_of_a_user(tmp_path, mode):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TEST)
    done = run_pytest(tmp_path, mode)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def deep(tmp_path):
    made = tmp_path / ("x" * 100)
    made.mkdir()
    return made


def test_package_does_not_import_pytest():
    code = "import sys, daemoneye_eventbus._cli; print({'pytest', 'pytest_asyncio'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "set()"), done.stderr


@pytest.mark.parametrize("missing", ["pytest", "pytest_asyncio"])
def test_without_pytest_it_says_what_to_install(missing):
    code = f"""
import sys
sys.modules[{missing!r}] = None
try:
    import daemoneye_eventbus.testing
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    # Not as a traceback, to which the interpreter adds what it guesses.
    assert (done.stdout, done.stderr) == (
        f"daemoneye_eventbus.testing needs {missing}; install it with: pip install 'daemoneye_eventbus[testing]'\n",
        "",
    )


def test_documentation_runs(tmp_path):
    """Every titled block of the guide, as the project that it describes."""
    guide = (Path(__file__).parent.parent / "docs/how-to-testing.md").read_text(encoding="utf-8")
    titled = re.findall(r"^```python title=\"([^\"]+)\"\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    assert len(titled) == 3
    for title, text in titled:
        (tmp_path / title).write_text(text, encoding="utf-8")
    done = run_pytest(tmp_path, "strict")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


WIDE = """
import pytest
from daemoneye_eventbus import ProcessEvent, WrongLoop

@pytest.mark.asyncio(loop_scope="module")
async def test_wide(eventbus_bus):
    {}
"""


@pytest.mark.parametrize(
    ("scope", "body"),
    [
        ("function", "with pytest.raises(WrongLoop): await eventbus_bus.flush()"),
        ("module", "await eventbus_bus.flush()"),
    ],
)
def test_loop_scopes(tmp_path, scope, body):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(WIDE.format(body))
    done = run_pytest(tmp_path, "auto", scope=scope)
    assert done.returncode == 0, done.stdout + done.stderr
