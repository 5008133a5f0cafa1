"""``broker``: a broker in a process of its own, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

from daemoneye_eventbus import Broker, BrokerConfig
from daemoneye_eventbus._cli import activation, output
from daemoneye_eventbus._cli.address import add_where, explicit_path, seconds_from_zero, token_from, where
from daemoneye_eventbus._cli.commands import command
from daemoneye_eventbus._cli.exits import OK, USAGE, CliError
from daemoneye_eventbus._cli.notify import notify
from daemoneye_eventbus._cli.numbers import counted
from daemoneye_eventbus._cli.options import add_fields, given
from daemoneye_eventbus._cli.rights import add_rights, configuration, rate_limits, rules

if TYPE_CHECKING:
    import argparse
    import socket
    from collections.abc import Callable

__all__ = ["add", "ignore_hang_up"]

_PROG: Final = "daemoneye-eventbus broker"
_STOPPING: Final = ("SIGTERM", "SIGINT")
# A secret is no argument, since all users see those; rules and rate limits have options of their own; the dialect is
# that of buses in the broker's own process, which has none here.
_NO_OPTIONS: Final = ("token", "rules", "rate_limit", "dialect")
_LEVELS: Final = ("debug", "info", "warning", "error")


def add(commands: Any) -> None:
    """Adds the command."""
    parser = command(
        commands,
        "broker",
        run=_run,
        help="run a broker until SIGTERM or Ctrl-C",
        description="Run a broker until SIGTERM or SIGINT; it then delivers what is queued and exits with code 0. "
        "SIGHUP is ignored. Prints one line when it listens, and tells a service "
        "manager ($NOTIFY_SOCKET) when it is ready and when it stops. A socket passed by the manager "
        "($LISTEN_FDS) is used as it is; PATH is then not needed, and if given must be the path of that socket.",
    )
    add_where(parser, positional="socket to listen on")
    parser.add_argument(
        "--token-file",
        action="append",
        default=[],
        metavar="[NAME=]FILE",
        help="file with a shared secret that each client must prove, readable by its owner only; several during "
        "rotation, or with names for use in rules (default: none)",
    )
    parser.add_argument(
        "--drain",
        type=seconds_from_zero,
        default=2.0,
        metavar="SECONDS",
        help="how long to keep delivering what is queued after a signal to stop (default: 2)",
    )
    parser.add_argument(
        "--log-level", choices=_LEVELS, default="warning", help="lowest level logged (default: warning)"
    )
    group = parser.add_argument_group("limits and rights")
    add_rights(group)
    add_fields(group, BrokerConfig, leave_out=_NO_OPTIONS)


def ignore_hang_up() -> None:
    """SIGHUP does nothing from now on."""
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


class _Log(logging.Handler):
    """Lines of stderr. They are made on the event loop, which waits for no reader."""

    def emit(self, record: logging.LogRecord) -> None:
        output.tell(self.format(record) + "\n")


class _OneLine(logging.Formatter):
    """A record may quote what a peer sent."""

    def format(self, record: logging.LogRecord) -> str:
        # Our own have been escaped, so a backslash is not doubled once more.
        return output.escape(super().format(record)).replace("\\\\", "\\")


def _token(text: str) -> bytes | tuple[str, bytes]:
    name, equals, file = text.partition("=")
    # A path that holds the sign begins with a dot or a slash.
    if equals and name.replace("-", "").replace("_", "").isalnum():
        return name, token_from(file)
    return token_from(text)


def _leave_no_core() -> None:
    """A core holds the whole memory, secrets too."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415  # not there on Windows

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _run(arguments: argparse.Namespace) -> int:
    output.wait_no_longer()
    # Until it serves, it has nothing to end in order.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    handed = activation.listener()
    values = given(arguments)
    if arguments.token_file:
        _leave_no_core()
        values["token"] = [_token(name) for name in arguments.token_file]
    if limits := rate_limits(arguments):
        values["rate_limit"] = limits
    config = configuration(values, rules(arguments))
    handler = _Log()
    handler.setFormatter(_OneLine(f"{_PROG}: %(levelname)s: %(name)s: %(message)s"))
    logging.basicConfig(level=arguments.log_level.upper(), handlers=[handler])
    asyncio.run(_serve(_broker(arguments, handed, config), arguments.drain))
    return OK


def _broker(arguments: argparse.Namespace, handed: socket.socket | None, config: BrokerConfig) -> Broker:
    if handed is None:
        path, instance = where(arguments)
        return Broker(path, instance=instance, config=config)
    with handed:
        try:
            broker = Broker.from_listener(handed, config=config)
        except ValueError as error:
            raise CliError(f"LISTEN_FDS: {error}", USAGE) from None
    meant = explicit_path(arguments)
    if meant is not None and meant != broker.path:
        raise CliError(f"{meant} is asked for, and the socket that was handed over is {broker.path}", USAGE)
    return broker


async def _serve(broker: Broker, drain: float) -> None:
    stopped = asyncio.Event()
    _on_signals(asyncio.get_running_loop(), stopped.set)
    await broker.start()
    undelivered = 0
    try:
        output.write_or_go_on(f"broker: listening on {output.escape(str(broker.path))}\n")
        notify(_PROG, "READY=1", f"STATUS=Listening on {output.escape(str(broker.path))}")
        await stopped.wait()
        notify(_PROG, "STOPPING=1")
    finally:
        undelivered = await broker.shutdown(drain)
    if undelivered:
        output.say(_PROG, f"{counted(undelivered, 'queued message')} could not be delivered within {drain:g} s")


def _on_signals(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """The first signal stops the broker; later ones are ignored: a terminal and a supervisor often both send one."""

    def first() -> None:
        for name in _STOPPING:
            loop.remove_signal_handler(getattr(signal, name))
            signal.signal(getattr(signal, name), signal.SIG_IGN)
        stop()

    try:
        for name in _STOPPING:
            loop.add_signal_handler(getattr(signal, name), first)
    except NotImplementedError:
        # A loop that cannot watch signals, as on Windows: Ctrl-C, and Ctrl-Break, which programs can send there.
        for name in ("SIGINT", "SIGBREAK"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), lambda _number, _frame: loop.call_soon_threadsafe(stop))
