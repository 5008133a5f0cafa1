"""The recipes of docs/how-to-deployment.md under real uids, and what users are told when one part is missing."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from daemoneye_eventbus import BrokerConfig

AGENT, COLLECTOR, BUS = 991, 992, 990
RUN = "/run/daemoneye"
PAGE = (Path(__file__).parent.parent / "docs/how-to-deployment.md").read_text(encoding="utf-8")
PROGRAMS = dict(re.findall(r"^```python title=\"([^\"]+)\"\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))

pytestmark = pytest.mark.usefixtures("as_root")


@pytest.fixture
def stage(open_folder, program):
    """Starts the page's programs under real uids, with a directory of this test in place of /run/daemoneye."""
    directory = open_folder / "run"

    def start(title, user, *, without=()):
        """``without``: (what is in the program, what stands there instead)."""
        text = PROGRAMS[title].replace(RUN, str(directory))
        for given, instead in without:
            assert given in text
            text = text.replace(given, instead)
        script = open_folder / f"{title.replace(' ', '_')}.py"
        script.write_text(text, encoding="utf-8")
        return program(str(script), user=user)

    def make(owner, group, mode):
        directory.mkdir()
        os.chown(directory, owner, group)
        directory.chmod(mode)

    start.directory = make
    return start


def refused(child, *words):
    """Its last words are a traceback whose message has ``words``."""
    child.child.wait(20)
    last = child.finish(code=1, stderr=None).strip().rpartition("\n")[2]
    for word in words:
        assert word in last, last


def finish(agent, collector):
    assert agent.line() == "init"
    collector.finish()
    agent.finish()


def test_unprivileged_agent_root_collector(stage):
    stage.directory(AGENT, AGENT, 0o700)
    agent = stage("unprivileged agent", AGENT)
    assert agent.line() == "ready"
    finish(agent, stage("root collector", None))


@pytest.mark.parametrize("user", [f"{COLLECTOR}:{COLLECTOR},{BUS}", f"{COLLECTOR}:{BUS}"])
def test_root_agent_unprivileged_collector(stage, user):
    stage.directory(0, BUS, 0o750)
    agent = stage("root agent", None)
    assert agent.line() == "ready"
    finish(agent, stage("unprivileged collector", user))


def test_neither_is_root(stage):
    stage.directory(AGENT, BUS, 0o750)
    agent = stage("root agent", f"{AGENT}:{AGENT},{BUS}")
    assert agent.line() == "ready"
    trusting = [('client="collector"', f'client="collector", server_uids=({AGENT},)')]
    finish(agent, stage("unprivileged collector", f"{COLLECTOR}:{COLLECTOR},{BUS}", without=trusting))


@pytest.fixture
def refused_collector(stage):
    """A collector that is refused for ``words``, next to an agent that goes on and serves the right one."""

    def check(agent, title, user, *words, without=(), right):
        assert agent.line() == "ready"
        refused(stage(title, user, without=without), "PermissionRefused", *words)
        finish(agent, right())

    return check


def test_root_collector_is_not_allowed(stage):
    stage.directory(AGENT, AGENT, 0o700)
    agent = stage("unprivileged agent", AGENT, without=[("allowed_uids=(0,)", "")])
    assert agent.line() == "ready"
    refused(stage("root collector", None), "PermissionRefused", "uid 0", "allowed_uids")
    agent.kill()


def test_root_collector_does_not_trust_the_agent(stage, refused_collector):
    stage.directory(AGENT, AGENT, 0o700)
    agent = stage("unprivileged agent", AGENT)
    missing = [(f", server_uids=({'AGENT'},)", "")]
    words = (f"uid {AGENT}", "server_uids", "/run/bus.sock")
    refused_collector(
        agent, "root collector", None, *words, without=missing, right=lambda: stage("root collector", None)
    )


def test_collector_is_not_allowed(stage):
    stage.directory(0, BUS, 0o750)
    agent = stage("root agent", None, without=[("allowed_uids=(COLLECTOR,), ", "")])
    assert agent.line() == "ready"
    refused(
        stage("unprivileged collector", f"{COLLECTOR}:{BUS}"), "PermissionRefused", f"uid {COLLECTOR}", "allowed_uids"
    )
    agent.kill()


def test_collector_is_not_in_the_group(stage, refused_collector):
    stage.directory(0, BUS, 0o755)
    agent = stage("root agent", None)
    refused_collector(
        agent,
        "unprivileged collector",
        COLLECTOR,
        "socket_group",
        right=lambda: stage("unprivileged collector", f"{COLLECTOR}:{BUS}"),
    )


@pytest.mark.parametrize("mode", [0o700, 0o740])
def test_group_cannot_enter_the_directory(stage, mode):
    stage.directory(0, BUS, mode)
    agent = stage("root agent", None)
    assert agent.line() == "ready"
    refused(
        stage("unprivileged collector", f"{COLLECTOR}:{BUS}"), "PermissionRefused", f"uid {COLLECTOR}", "its directory"
    )
    agent.kill()


def test_agent_is_not_in_the_group(stage):
    stage.directory(AGENT, BUS, 0o750)
    refused(stage("root agent", AGENT), "PathRefused", f"group {BUS}", "member of the group")


@pytest.mark.parametrize(
    ("owner", "mode", "words"), [(AGENT, 0o770, "chmod go-w"), (COLLECTOR, 0o755, "belongs to uid")]
)
def test_directory_is_not_the_agents(stage, owner, mode, words):
    stage.directory(owner, BUS, mode)
    refused(stage("root agent", f"{AGENT}:{BUS}"), "PathRefused", words)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"allowed_uids": (COLLECTOR,)}, ["allowed_uids", "0o600", "socket_mode=0o660", "socket_group"]),
        ({"socket_mode": 0o660, "allowed_uids": (COLLECTOR,)}, ["socket_group", "0o660", "group"]),
        ({"socket_group": BUS, "allowed_uids": (0,)}, ["socket_group", "0o600", "socket_mode=0o660"]),
    ],
)
def test_half_a_configuration_is_refused_when_it_is_made(settings, words):
    with pytest.raises(ValueError) as caught:
        BrokerConfig(**settings)
    for word in words:
        assert word in str(caught.value)
