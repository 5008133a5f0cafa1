"""`broker` as its operators meet it: options, signals, refused paths, a service manager, tokens."""

from __future__ import annotations

import dataclasses
import grp
import json
import os
import pwd
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from commands import DEADLINE, events, publish_lines, wait_for
from daemoneye_eventbus import BrokerConfig
from raw import framed
from support import NOBODY

pytest_plugins = ["commands"]
pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals, pipes and terminals of Unix"),
    pytest.mark.limit(90),
]


def options_of(config):
    # Of a secret every user would know; of buses in the broker's own process, where the command has none.
    left_out = {"token", "dialect"}
    return {field.name for field in dataclasses.fields(config)} - left_out


def test_every_setting_of_the_broker_is_an_option_with_its_unit(cli):
    text = " ".join(cli("broker", "--help", env={"COLUMNS": "200"}).ends(0).stdout.split())
    for name in options_of(BrokerConfig):
        assert f"--{name.replace('_', '-')} " in text, name
    assert "--max-frame BYTES Largest frame body in bytes" in text
    assert "--handshake-timeout SECONDS Seconds from accept to CONNECT, and from INFO to the proof of a token." in text
    assert "--token-file" in text
    assert "--token " not in text
    assert " --dialect" not in text
    assert "What a peer of the original is sent. Patterns of its own grammar" in text
    assert "Broker." not in text
    assert "needs a token" in text
    assert "with a token only if --original-auth is on" in text
    assert "exit codes: 0 done" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("--max-frame", "64K", "--queue-bytes", "1MiB", "--total-queue-bytes", "1g"),
        ("--overflow", "disconnect", "--no-original-peers", "--handshake-timeout", "0.5"),
        ("--socket-mode", "0660", "--socket-group", str(os.getgid()), "--allowed-uids", "1,2", "--allowed-uids", "3"),
        ("--socket-mode", "0660", "--socket-group", grp.getgrgid(os.getgid()).gr_name, "--allowed-uids", "root,daemon"),
        ("--original-patterns", "events.process.#,events.network.#", "--max-topic-depth", "5", "--log-level", "debug"),
    ],
)
def test_options_are_obeyed(cli, path, arguments):
    child = cli("broker", path, *arguments).until("listening", "stdout")
    if "--socket-mode" in arguments:
        assert Path(path).stat().st_mode & 0o777 == 0o660
    if "--max-frame" in arguments:
        large = {"pid": 1, "name": "x" * 70_000}
        said = publish_lines(cli, json.dumps({"type": "process", "fields": large})).ends(1).stderr
        assert "line 1: " in said
        assert "65536" in said
    child.signal(signal.SIGTERM).ends(0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--max-frame", "12"), "--max-frame: must be between 1024"),
        (("--max-frame", "1.5M"), "no size"),
        (("--max-connections", "x"), "argument --max-connections"),
        (("--socket-mode", "0666"), "--socket-mode: must be 0o600 or 0o660"),
        (("--socket-mode", "99"), "no mode"),
        (("--allowed-uids", "7"), "--allowed-uids: others cannot open"),
        (("--allowed-uids", "7"), "set --socket-mode=0o660 and --socket-group to"),
        (("--allowed-uids", "0,no-such-user"), "there is no user 'no-such-user'"),
        (("--socket-group", "no-such-group"), "there is no group 'no-such-group'"),
        (("--overflow", "block"), "invalid choice"),
        (("--original-auth",), "--original-auth: needs a token; give --token-file"),
        (("--ping-interval", "100"), "--ping-timeout: must be above --ping-interval"),
        (("--drain", "nan"), "no number of seconds"),
        (("--drain", "-1"), "no number of seconds"),
        (("--drain", "2e9"), "'2e9' is no number of seconds of at least 0 and at most 1000000000"),
        (("--stall-timeout", "5s"), "'5s' is no number of seconds"),
        (("--path", "/tmp/other"), "not allowed with argument"),
        (("--unknown",), "unrecognized arguments"),
        (("--max-conn", "5"), "unrecognized arguments"),
    ],
)
def test_invalid_options_are_usage_errors(cli, path, arguments, said):
    child = cli("broker", path, *arguments).ends(2)
    assert said in child.stderr
    assert child.stderr.count("\n") == 1
    assert child.stdout == ""
    assert not Path(path).exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_broker_ends_with_zero_and_takes_its_socket_along(cli, path, number):
    child = cli("broker", path).until("listening", "stdout")
    assert child.stdout == f"broker: listening on {path}\n"
    assert Path(path).stat().st_mode & 0o777 == 0o600
    child.signal(signal.SIGHUP)
    cli("stats").ends(0)
    child.signal(number)
    child.ends(0, "")
    assert not Path(path).exists()


def test_hang_up_while_it_starts_changes_nothing(cli, path, folder):
    secret = folder / "secret"
    os.mkfifo(secret, 0o600)
    child = cli("broker", path, "--token-file", secret)
    # It is reading when somebody can write.
    with secret.open("wb") as file:
        child.signal(signal.SIGHUP)
        time.sleep(0.1)
        file.write(b"0123456789abcdef")
    child.until("listening", "stdout").signal(signal.SIGHUP)
    child.signal(signal.SIGTERM).ends(0, "")


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda place: place.write_text("x"), "a file"),
        (lambda place: place.mkdir(), "a directory"),
        (os.mkfifo, "a named pipe"),
        (lambda place: place.symlink_to("/dev/null"), "a symbolic link"),
    ],
)
def test_what_occupies_the_path_is_named_in_plain_words(cli, folder, make, what):
    place = folder / "place"
    make(place)
    said = f"refused to use {place}: {what} is there, not a socket; move it away, or choose another path\n"
    cli("broker", place).ends(4, f"daemoneye-eventbus broker: {said}")


def test_a_signal_before_it_listens_ends_it_and_leaves_nothing(cli, path, folder):
    secret = folder / "secret"
    os.mkfifo(secret, 0o600)
    child = cli("broker", path, "--token-file", secret)
    # It is reading when somebody can write.
    with secret.open("wb"):
        child.signal(signal.SIGTERM).ends(-signal.SIGTERM, "")
    assert child.stdout == ""
    assert os.listdir(folder) == ["secret"]


def test_signals_as_soon_as_it_listens_and_twice(cli, path):
    for pause in (0.0, 0.001, 0.005, 0.02):
        child = cli("broker", path).until("listening", "stdout")
        child.signal(signal.SIGTERM)
        time.sleep(pause)
        child.signal(signal.SIGINT).signal(signal.SIGTERM)
        child.ends(0, "")
        assert not Path(path).exists()


@pytest.mark.parametrize("drain", ["0.5", "0"])
def test_drain_delivers_what_is_queued_or_counts_it(cli, path, drain):
    child = cli("broker", path, "--drain", drain).until("listening", "stdout")
    # A reader that has stopped reading: its pipe is full, then its queue, then the kernel's.
    read, write = os.pipe()
    reader = cli("sub", "events.#", "--quiet", "--overflow", "block", stdout=write)
    os.close(write)
    wait_for(lambda: json.loads(cli("stats", "--json").ends(0).stdout)["active_subscribers"] == 1)
    reader.signal(signal.SIGSTOP)
    publish_lines(cli, events(*range(20_000), topic="events.process.start")).ends(0)
    began = time.monotonic()
    child.signal(signal.SIGTERM).ends(0)
    assert time.monotonic() - began < 5
    assert f"queued messages could not be delivered within {drain} s" in child.stderr
    os.close(read)


def test_second_broker_and_refused_paths(cli, cli_broker, path, folder):
    second = cli("broker", path).ends(3)
    assert f"already running at {path} (pid {cli_broker.process.pid})" in second.stderr
    assert cli("broker", "--path", path).ends(3).stderr.count("\n") == 1
    file = folder / "file"
    file.write_text("content")
    assert "refused" in cli("broker", file).ends(4).stderr
    assert file.read_text() == "content"
    (folder / "link").symlink_to(path)
    assert "refused" in cli("broker", folder / "link").ends(4).stderr
    assert "107" in cli("broker", "/tmp/" + "x" * 200).ends(4).stderr
    cli("stats").ends(0)


def test_addresses(cli, path):
    name = f"cli-{os.getpid()}"
    child = cli("broker", "--instance", name, env={"DAEMONEYE_BROKER_SOCKET": "/nowhere"}).until("listening", "stdout")
    assert f"/tmp/daemoneye-{name}.sock" in child.stdout
    cli("stats", "--instance", name).ends(0)
    cli("stats", "--path", f"/tmp/daemoneye-{name}.sock").ends(0)
    cli("pub", "--instance", name, "process", "--pid", "1", "--name", "x").ends(0)
    cli("pub", "process", "--pid", "1", "--name", "x", "--instance", name).ends(0)
    cli("stats", "--instance", "../etc").ends(2)
    cli("stats", "--instance", name, "--path", path).ends(2)
    cli("pub", "--instance", name, "process", "--pid", "1", "--name", "x", "--path", path).ends(2)
    assert "DAEMONEYE_BROKER_SOCKET" in cli("stats", env={"DAEMONEYE_BROKER_SOCKET": ""}).ends(2).stderr
    child.signal(signal.SIGTERM).ends(0)
    Path(f"/tmp/daemoneye-{name}.sock.lock").unlink()


@pytest.mark.parametrize("abstract", [False, True])
def test_service_manager_is_notified(cli, path, folder, abstract):
    if abstract and sys.platform != "linux":
        pytest.skip("abstract addresses are Linux's")
    address = f"@deb-{os.getpid()}" if abstract else str(folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + address[1:] if abstract else address)
        manager.settimeout(DEADLINE)
        child = cli("broker", path, env={"NOTIFY_SOCKET": address})
        assert manager.recv(4096).decode() == f"READY=1\nSTATUS=Listening on {path}"
        # Ready means ready.
        cli("stats", "--connect-timeout", "0.1").ends(0)
        child.signal(signal.SIGTERM)
        assert manager.recv(4096) == b"STOPPING=1"
        child.ends(0, "")


@pytest.mark.parametrize("address", ["/nowhere/at/all", "vsock:2:9999", "relative"])
def test_service_manager_that_does_not_listen_stops_nothing(cli, path, address):
    child = cli("broker", path, env={"NOTIFY_SOCKET": address}).until("listening", "stdout").until("notified")
    child.signal(signal.SIGTERM).ends(0)


def test_tokens(cli, path, folder):
    files = []
    for index, mode in enumerate((0o600, 0o400, 0o600, 0o644)):
        files.append(folder / f"token{index}")
        files[-1].write_bytes(b"%d" % index * 32 + b"\n")
        files[-1].chmod(mode)
    old, new, wrong, readable = files
    child = cli("broker", path, "--token-file", old, "--token-file", new).until("listening", "stdout")
    cli("stats", "--token-file", old).ends(0)
    cli("stats", "--token-file", new).ends(0)
    cli("stats", "--token-file", wrong).ends(4)
    assert "; give --token-file with the broker's" in cli("stats").ends(4).stderr
    assert "chmod 600" in cli("stats", "--token-file", readable).ends(4).stderr
    assert "chmod 600" in cli("broker", folder / "c.sock", "--token-file", readable).ends(4).stderr
    # A file may only be late; a service manager that gives up on a refusal tries again.
    assert "No such file" in cli("stats", "--token-file", folder / "none").ends(1).stderr
    (folder / "short").write_bytes(b"x")
    (folder / "short").chmod(0o600)
    for command in (("broker", folder / "c.sock"), ("stats",), ("doctor", path)):
        refused = cli(*command, "--token-file", folder / "short").ends(2)
        assert refused.stderr.endswith(
            f": token file {folder}/short: 1 bytes are too few, at least 16 are needed; "
            "make one with openssl rand -hex 32\n"
        )
    (folder / "short").write_bytes(b"x" * 5000)
    said = cli("stats", "--token-file", folder / "short").ends(2).stderr
    assert said.endswith("more than 4096 bytes; make one with openssl rand -hex 32\n")
    child.signal(signal.SIGTERM).ends(0)
    assert "0" * 32 not in child.stderr + child.stdout


def test_a_credential_of_systemd_may_be_readable_for_its_group(cli, path, folder):
    """Of a unit with User= it is root's, with an access list for that user, and mode 0440."""
    credentials = folder / "credentials"
    credentials.mkdir()
    env = {"CREDENTIALS_DIRECTORY": str(credentials)}

    def token(place, mode):
        place.write_bytes(b"0" * 32 + b"\n")
        place.chmod(mode)
        return place

    good = token(credentials / "token", 0o440)
    child = cli("broker", path, "--token-file", good, env=env).until("listening", "stdout")
    cli("stats", "--token-file", credentials / ".." / "credentials" / "token", env=env).ends(0)
    elsewhere = token(folder / "token", 0o440)
    (credentials / "link").symlink_to(elsewhere)
    refused = [elsewhere, credentials / "link", credentials / ".." / "token"]
    refused += [token(credentials / f"token{mode:o}", mode) for mode in (0o460, 0o444, 0o442, 0o441)]
    if os.geteuid() == 0:
        refused.append(token(credentials / "stranger", 0o440))
        os.chown(refused[-1], NOBODY, -1)
    for file in refused:
        assert "others may read it" in cli("stats", "--token-file", file, env=env).ends(4).stderr, file
    assert "others may read it" in cli("stats", "--token-file", good).ends(4).stderr
    child.signal(signal.SIGTERM).ends(0)


RULES = """
[[rule]]
tokens = ["agent"]
publish = ["#"]
subscribe = ["#"]

[[rule]]
uids = ["USER"]
publish = ["events.process.stop"]
subscribe = ["events.process.#"]

[[rule]]
publish = ["#"]
subscribe = ["#"]
allow = false
"""


def test_rules_from_a_file_and_tokens_with_names(cli, path, folder):
    secrets = {}
    for name in ("agent", "tool"):
        secrets[name] = folder / name
        secrets[name].write_text(name * 8)
        secrets[name].chmod(0o600)
    rules = folder / "rules.toml"
    rules.write_text(RULES.replace("USER", pwd.getpwuid(os.getuid()).pw_name))
    rules.chmod(0o640)
    named = [word for name, file in secrets.items() for word in ("--token-file", f"{name}={file}")]
    child = cli("broker", path, "--rules", rules, *named).until("listening", "stdout")
    process = ("process", "--pid", "1", "--name", "x")
    heard = cli("sub", "#", "--count", "2", "--json", "--token-file", secrets["agent"]).until("subscribed")
    refused = cli("sub", "#", "--count", "1", "--token-file", secrets["tool"]).ends(4)
    assert "may not subscribe" in refused.stderr
    cli("pub", "--token-file", secrets["tool"], *process, "--topic", "events.process.start")
    child.until("reason=rights")
    cli("pub", "--token-file", secrets["tool"], *process, "--topic", "events.process.stop").ends(0)
    cli("pub", "--token-file", secrets["agent"], *process, "--topic", "events.process.start").ends(0)
    heard.ends(0)
    assert [json.loads(line)["topic"].rsplit(".")[-1] for line in heard.stdout.splitlines()] == ["stop", "start"]
    child.signal(signal.SIGTERM).ends(0)


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("[[rule]]\npublish = 1", 2, "rule 1: publish: expected a sequence"),
        ('[[rule]]\npublish = ["#"]\n[[rule]]\nuid = [1]', 2, "rule 2: uid is none of allow, publish,"),
        ('[[rule]]\npublish = ["#"]\n[[rule]]\npublish = ["nowhere.x"]', 2, "rules.toml: rule 2: Topic error: "),
        (
            '[[rule]]\npublish = ["#"]\ntokens = ["x"]',
            2,
            "rules.toml: rule 1: no token is named 'x'; name one with ",
        ),
        ('[[rule]]\npublish = ["#"]\nuids = []', 2, "rule 1: uids: an empty list names nobody; leave it out where"),
        ('[[rule]]\nuids = ["no-such-user"]\npublish = ["#"]', 2, "rule 1: uids: there is no user 'no-such-user'"),
        ("[rules]", 2, "rules is not known here"),
        ("rule = 5", 2, "rule is not known here"),
        ("rule = [5]", 2, "rule 1: not a table"),
        ("[[rule", 2, "--rules "),
        ("rule = " + "[" * 5000, 2, "nested too deeply"),
        ("rule = " + "9" * 5000, 2, "--rules "),
        (None, 1, "No such file"),
        ("writable", 4, "others may write it"),
    ],
)
def test_invalid_rules_files(cli, path, folder, text, code, said):
    rules = folder / "rules.toml"
    if text is not None:
        rules.write_text(text)
        rules.chmod(0o666 if text == "writable" else 0o644)
    child = cli("broker", path, "--rules", rules).ends(code)
    assert said in child.stderr
    assert child.stderr.count("\n") == 1
    assert not Path(path).exists()


def test_rate_limits(cli, path):
    limits = ("--rate-limit", "messages=10,burst=1", "--rate-limit", "per=uid,connects=1000,bytes=1M")
    child = cli("broker", path, *limits).until("listening", "stdout")
    publish_lines(cli, events(*range(200)))
    child.until("reason=rate_limit")
    child.signal(signal.SIGTERM).ends(0)
    for limit, said in {
        "messages": "none of per, messages, bytes, connects, burst",
        "host=1": "none of per",
        "messages=x": "'x' is no number; K, M and G",
        "per=uid": "no rate at all",
        "connects=1": "--rate-limit: connects: needs per=uid",
        "messages=0": "--rate-limit: messages: must be between",
        "messages=1,messages=2": "--rate-limit: messages is given twice",
    }.items():
        refused = cli("broker", path, "--rate-limit", limit).ends(2)
        assert said in refused.stderr, limit
        assert refused.stderr.count("\n") == 1
    assert "two limits of the same kind" in cli("broker", path, *limits[:2] * 2).ends(2).stderr


def test_the_log_goes_to_stderr_from_its_level_on(cli, path, folder):
    child = cli("broker", path, "--log-level", "info").until("listening")
    assert child.stderr.startswith("daemoneye-eventbus broker: INFO: daemoneye_eventbus.broker: listening path=")
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(path))
        body = b'CONNECT {"protocol":1,"client":"\\u001b[2J\\u202e","dialect":"bincode"}'
        peer.sendall(framed(body, body))
        child.until("reason=protocol")
        assert r"client=\x1b[2J\u202e" in child.stderr
    child.signal(signal.SIGTERM).ends(0)
    assert child.stderr.endswith("daemoneye_eventbus.broker: stopped\n")
    quiet = cli("broker", folder / "quiet.sock", "--log-level", "error").until("listening", "stdout")
    quiet.signal(signal.SIGTERM).ends(0, "")
