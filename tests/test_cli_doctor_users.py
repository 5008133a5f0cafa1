"""`doctor` where several users share a machine: whose the broker is, or would be, and who looks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from commands import DEADLINE, findings_of
from support import NOBODY

pytest_plugins = ["commands"]
pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="modes and sockets of Unix"),
    pytest.mark.limit(90),
]


@pytest.mark.usefixtures("as_root")
def test_a_broker_of_another_user_who_lets_us_in(cli, open_folder, program):
    os.chown(open_folder, NOBODY, NOBODY)
    path = str(open_folder / "b.sock")
    program("broker.py", path, {"allowed_uids": [0]}, user=NOBODY).line()
    found = findings_of(cli, 4, path)
    for subject in ("socket", "broker"):
        assert f"--server-uid {NOBODY}" in found[subject]["advice"]
    assert "traffic" not in found
    findings_of(cli, 0, path, "--server-uid", NOBODY)
    for command in (
        ["stats"],
        ["clients"],
        ["top", "--once", "--interval", "0.1"],
        ["decode", "--live", "--count", "1"],
    ):
        said = cli(*command, "--path", path).ends(4).stderr
        assert str(NOBODY) in said
        assert "--server-uid" in said
        assert "server_uids" not in said
        cli(*command, "--path", path, "--server-uid", "0", "--server-uid", NOBODY).ends(0, "")
    cli("stats", "--path", path, "--server-uid", "nobody-of-that-name").ends(2)


def test_a_sid_of_a_broker_is_for_windows(cli, path):
    for command in (["stats"], ["doctor"], ["decode", "--live"]):
        said = cli(*command, "--path", path, "--server-sid", "S-1-5-18", "--server-sid", "S-1-5-32-544").ends(2).stderr
        assert "--server-sid: has no effect on Unix; use --server-uid" in said


@pytest.mark.usefixtures("as_root")
def test_a_broker_of_another_user(cli, open_folder, program):
    """Root looks at a service: judged as that user's, and told who may ask more."""
    os.chown(open_folder, NOBODY, NOBODY)
    path = str(open_folder / "b.sock")
    program("broker.py", path, {}, user=NOBODY).line()
    found = findings_of(cli, 4, path, "--server-uid", NOBODY)
    assert found["directory"]["level"] == found["socket"]["level"] == "ok"
    assert "not_permitted" in found["broker"]["text"] or "allowed_uids" in found["broker"]["text"]
    assert "--allowed-uids" in found["broker"]["advice"]


@pytest.mark.usefixtures("as_root")
def test_a_broker_of_another_user_that_is_stopped(cli, open_folder, program):
    """It was an unsafe directory and a lock to be removed, though that user's broker starts there."""
    os.chown(open_folder, NOBODY, NOBODY)
    open_folder.chmod(0o700)
    path = str(open_folder / "b.sock")
    for _ in range(2):
        found = findings_of(cli, 5, path, "--server-uid", NOBODY)
        assert found["directory"]["level"] == "ok"
        assert found["broker"]["text"] == "none runs here"
        assert found["broker"]["advice"].startswith(f"start one as nobody (uid {NOBODY}): ")
        broker = program("broker.py", path, {"allowed_uids": [0]}, user=NOBODY)
        broker.line()
        broker.kill()
        os.unlink(path)
    assert found["lock"]["level"] == "note"
    # What root's own broker would not take is told to root as before.
    assert "belongs to uid" in findings_of(cli, 4, path)["directory"]["text"]


@pytest.mark.usefixtures("as_root")
def test_a_broker_of_root_that_is_stopped_as_another_user_sees_it(cli, open_folder):
    """Whoever may only connect there cannot be whose broker is missing."""
    path = open_folder / "b.sock"
    cli("broker", path).until("listening", "stdout").signal(signal.SIGTERM).ends(0)
    # Imported first: the interpreter may live where that user cannot read.
    code = (
        "import os, sys, encodings.ascii, pwd; from daemoneye_eventbus._cli import main;"
        "os.setgroups([]); os.setuid(int(sys.argv.pop(1))); sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(NOBODY), "doctor", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 5, done
    assert "start one as root (uid 0): " in done.stdout
    assert "\nbad   lock" not in done.stdout


@pytest.mark.usefixtures("as_root")
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there are no pid namespaces")
def test_a_broker_without_a_pid_here(cli_broker, path):
    """Seen from a pid namespace in which it has no number: clients there know it by its uid, and so does a doctor."""
    inside = ["unshare", "--pid", "--fork", sys.executable, "-m", "daemoneye_eventbus"]
    if subprocess.run([*inside, "--version"], capture_output=True, timeout=DEADLINE, check=False).returncode:
        pytest.skip("this system gives no pid namespaces")
    for command in (["stats", "--path", path], ["doctor", path]):
        done = subprocess.run([*inside, *command], capture_output=True, text=True, timeout=DEADLINE, check=False)
        assert (done.returncode, done.stderr) == (0, ""), (command, done)
    assert " ms as " in done.stdout
    assert " ms as pid" not in done.stdout


@pytest.mark.usefixtures("as_root")
def test_a_path_that_somebody_else_has_taken(cli, open_folder):
    """Nothing is sent to whom no client would speak, and nothing is advised that a broker would refuse."""
    open_folder.chmod(0o1777)
    path = open_folder / "b.sock"
    cli("broker", path).until("listening", "stdout").signal(signal.SIGTERM).ends(0)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        os.chown(path, NOBODY, NOBODY)
        path.chmod(0o777)
        listener.listen()
        # The kernel says who listened, which is we: as a stranger sees it.
        found = findings_of(cli, 4, path, "--server-uid", NOBODY)
        assert f"--server-uid {os.geteuid()}" in found["broker"]["advice"]
        with listener.accept()[0] as peer:
            peer.settimeout(DEADLINE)
            assert peer.recv(1) == b""
    found = findings_of(cli, 4, path)
    assert found["lock"]["level"] == "note", "ours is in nobody's way"
    assert found["socket"]["level"] == "bad"
    assert "0600" not in found["socket"]["advice"]
    assert "starts at no socket of anybody else" in found["socket"]["advice"]
    assert f"start the broker of nobody (uid {NOBODY}) again" in found["broker"]["advice"]
    assert "belongs to uid" in cli("broker", path).ends(4).stderr
