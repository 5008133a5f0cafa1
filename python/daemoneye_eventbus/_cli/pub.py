"""``pub``: one event from arguments, or many from lines of JSON.

A line that cannot be published is named by its number and the field that is wrong in it. However the lines end, a line
on stderr says how many events the broker has for sure, and how many it refused or may not have got; behind it comes at
most the error that ended them, the last line of every command. A signal ends the reading: what has been read from a
pipe is nowhere else, and is published still, until a deadline for that and all behind it.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import binascii
import contextlib
import dataclasses
import os
import re
import stat
from typing import TYPE_CHECKING, Any, Final

from daemoneye_eventbus import FrameTooLarge, TopicError
from daemoneye_eventbus._cli import jsonlines, output, termination
from daemoneye_eventbus._cli.address import add_client, connect
from daemoneye_eventbus._cli.arguments import integer, mapping, pair, real, text, timestamp
from daemoneye_eventbus._cli.commands import FieldFormatter, command
from daemoneye_eventbus._cli.exits import ERROR, NO_BROKER, OK, USAGE, CliError
from daemoneye_eventbus._cli.kinds import CONTROL, KINDS, Kind, fields_of
from daemoneye_eventbus._cli.options import flag
from daemoneye_eventbus._cli.progress import PROG, Progress
from daemoneye_eventbus._cli.reader import LONGEST_LINE, Lines, LineTooLong
from daemoneye_eventbus._cli.refusals import Refusals
from daemoneye_eventbus._cli.wording import in_options

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from daemoneye_eventbus import EventBus

__all__ = ["add"]

_PREFIX: Final = "field_"
_FINISH: Final = 5.0
"""Seconds for what has been read once a signal came; readers that are waited for may never read on."""
_CLOSE: Final = 1.0
"""And for each thing behind it that waits for the broker, which may never answer."""
_UNCONFIRMED: Final = "the broker did not confirm what was published"
# --path is the broker's.
_OPTIONS: Final = {"path": "--file-path"}
# What errors of Python's methods call the option and the key of a line.
_CORRELATION: Final = re.compile(r"^publish(_control)?\.correlation: ")
_ONE: Final = "publish one {kind} message from arguments"


def add(commands: Any) -> None:
    """Adds the command."""
    parser = command(
        commands,
        "pub",
        run=_run,
        help="publish events",
        description="Publish one event from the arguments, as in `pub process --pid 1 --name sh`, or, without "
        "a type, lines of JSON from stdin. What `sub --json` prints is published again, with the same topic, event "
        "and correlation. A line needs type and fields; see `pub TYPE --help` for the fields.",
    )
    _add_common(parser)
    parser.add_argument("--file", metavar="FILE", help="read lines from a file, with progress on stderr")
    parser.add_argument("--keep-going", action="store_true", help="continue after a bad line; the exit code is still 1")
    parser.set_defaults(kind=None)
    kinds = parser.add_subparsers(title="types", metavar="TYPE", required=False)
    for kind, cls in KINDS.items():
        _add_kind(kinds, kind, cls)
    control = _add_one(kinds, CONTROL, topic_needed=True)
    _add_payload(control)


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_client(parser)
    parser.add_argument(
        "--congestion",
        choices=("drop", "block"),
        default=argparse.SUPPRESS,
        help="block: wait for readers whose queues are full; drop: their own policy applies (default: drop)",
    )
    parser.add_argument("--quiet", action="store_true", default=argparse.SUPPRESS, help="only errors on stderr")


def _add_one(kinds: Any, kind: str, *, topic_needed: bool) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = kinds.add_parser(
        kind, help=_ONE.format(kind=kind), formatter_class=FieldFormatter, allow_abbrev=False
    )
    _add_common(parser)
    parser.add_argument(
        "--topic", required=topic_needed, help="where to publish" + " (default: the type's)" * (not topic_needed)
    )
    parser.add_argument("--correlation", type=text, metavar="ID", help="correlation id (default: a new one)")
    parser.set_defaults(kind=kind)
    return parser


def _option(name: str) -> str:
    return _OPTIONS.get(name, flag(name))


def _add_kind(kinds: Any, kind: str, cls: Kind) -> None:
    parser = _add_one(kinds, kind, topic_needed=False)
    for name, field in fields_of(cls).items():
        needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        settings: dict[str, Any] = {"dest": _PREFIX + name, "required": needed, "default": argparse.SUPPRESS}
        settings["help"] = f"{cls.__name__}.{name}"
        option = _option(name)
        match str(field.type).removesuffix(" | None"):
            case "int":
                parser.add_argument(option, type=integer, metavar="N", **settings)
            case "float":
                parser.add_argument(option, type=real("number"), metavar="X", **settings)
            case "Timestamp":
                settings["help"] = "ISO 8601 with an offset, as in 2026-01-31T12:00:00Z, or nanoseconds since 1970."
                parser.add_argument(option, type=timestamp, metavar="TIME", **settings)
            case "bytes":
                _add_payload(parser)
            case "str":
                parser.add_argument(option, type=text, metavar="TEXT", **settings)
            case _:
                parser.add_argument(option, type=pair, metavar="KEY=VALUE", action="append", **settings)


def _add_payload(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    payload: dict[str, Any] = {"dest": _PREFIX + "payload", "default": argparse.SUPPRESS}
    group.add_argument("--payload", type=os.fsencode, metavar="TEXT", help="Payload as text.", **payload)
    group.add_argument("--payload-base64", type=_base64, metavar="BASE64", help="Payload in base64.", **payload)


def _base64(said: str) -> bytes:
    try:
        return base64.b64decode(said, validate=True)
    except (binascii.Error, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{said[:40]!r} is not base64: {error}") from None


def _run(arguments: argparse.Namespace) -> int:
    if arguments.kind is not None:
        if arguments.file is not None:
            raise CliError(f"--file has lines of its own; give it without {arguments.kind}", USAGE)
        if arguments.keep_going:
            raise CliError(f"--keep-going is about lines; give it without {arguments.kind}", USAGE)
        return asyncio.run(_publish_one(arguments, _message(arguments)))
    if arguments.file is None or arguments.file == "-":
        return asyncio.run(_publish_lines(arguments, 0, None))
    # Else Windows would end it at the first Ctrl-Z.
    descriptor = os.open(arguments.file, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise CliError(f"{arguments.file} is a directory")
        return asyncio.run(_publish_lines(arguments, descriptor, status.st_size))
    finally:
        os.close(descriptor)


def _message(arguments: argparse.Namespace) -> jsonlines.Parsed:
    values = {name.removeprefix(_PREFIX): value for name, value in vars(arguments).items() if name.startswith(_PREFIX)}
    if arguments.kind == CONTROL:
        return jsonlines.Parsed(values.get("payload", b""), arguments.topic, arguments.correlation)
    if "metadata" in values:
        values["metadata"] = mapping("--metadata", values["metadata"])
    kind = KINDS[arguments.kind]
    try:
        return jsonlines.Parsed(kind(**values), arguments.topic, arguments.correlation)
    except (ValueError, TypeError) as error:
        said = str(error)
        for name in fields_of(kind):
            said = said.replace(f"{kind.__name__}.{name}:", f"{_option(name)}:")
        raise CliError(in_options(said), USAGE) from None


@contextlib.asynccontextmanager
async def _connected(arguments: argparse.Namespace) -> AsyncGenerator[EventBus]:
    async with connect(arguments, client="pub", congestion=getattr(arguments, "congestion", "drop")) as bus:
        try:
            yield bus
        finally:
            if termination.code() is not None:
                # With congestion="block" it has more patience of its own.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_CLOSE):
                        await bus.shutdown()


async def _publish(bus: EventBus, parsed: jsonlines.Parsed) -> None:
    if isinstance(parsed.message, bytes):
        # Checked when it was read: a control message has a topic.
        await bus.publish_control(parsed.topic or "", parsed.message, parsed.correlation)
    else:
        await bus.publish(parsed.message, parsed.correlation, topic=parsed.topic)


def _fate(bus: EventBus) -> tuple[int, int]:
    """Of what was published, what the broker refused, and what it has not confirmed."""
    numbers = bus.local_statistics()
    return numbers["refused"], numbers["unconfirmed"] + numbers["unsent"]


async def _confirm(bus: EventBus, refusals: Refusals) -> None:
    """Everything has been routed; raises for what was refused, and for what may have been lost."""
    try:
        await bus.flush()
    except TimeoutError:
        raise CliError(_UNCONFIRMED, NO_BROKER) from None
    refused, unconfirmed = _fate(bus)
    if unconfirmed:
        raise CliError(f"the connection broke, and {unconfirmed} of what was published may be lost", NO_BROKER)
    if refused:
        raise refusals.error(refused)


async def _publish_one(arguments: argparse.Namespace, parsed: jsonlines.Parsed) -> int:
    refusals = Refusals.watched()
    async with _connected(arguments) as bus:
        try:
            await _publish(bus, parsed)
        except (TopicError, ValueError) as error:
            raise CliError(in_options(_CORRELATION.sub("--correlation: ", str(error))), USAGE) from None
        await _confirm(bus, refusals)
    return OK


async def _publish_lines(arguments: argparse.Namespace, descriptor: int, size: int | None) -> int:
    loop = asyncio.get_running_loop()
    refusals = Refusals.watched()
    async with _connected(arguments) as bus:
        progress = Progress(size, quiet=getattr(arguments, "quiet", False))
        lines = Lines(descriptor)

        async def work() -> int:
            try:
                return await _publish_all(bus, lines, progress, keep_going=arguments.keep_going)
            except asyncio.CancelledError:
                # The one that it waited with as well.
                progress.left = lines.read - progress.lines + 1
                raise
            finally:
                progress.clear()
                try:
                    await _confirm(bus, refusals)
                finally:
                    progress.total(*_fate(bus))

        working = loop.create_task(work())

        def stop() -> None:
            lines.stop()
            # The first may end the publishing, the second what comes behind it.
            for seconds in (_FINISH, _FINISH + _CLOSE):
                loop.call_later(seconds, working.cancel)

        termination.call(stop)
        try:
            return await working
        except asyncio.CancelledError:
            if termination.code() is None:
                raise
            if _fate(bus)[1]:
                raise CliError(_UNCONFIRMED, NO_BROKER) from None
            return ERROR


async def _publish_all(bus: EventBus, lines: Lines, progress: Progress, *, keep_going: bool) -> int:
    try:
        async for batch in lines.batches():
            for line in batch:
                progress.line(line)
                if line.strip() and not await _publish_line(bus, line, progress) and not keep_going:
                    return ERROR
            progress.tick()
    except LineTooLong:
        output.say(PROG, f"line {progress.lines + 1}: longer than {LONGEST_LINE} bytes")
        return ERROR
    return ERROR if progress.bad else OK


async def _publish_line(bus: EventBus, line: bytes, progress: Progress) -> bool:
    try:
        await _publish(bus, jsonlines.read(line))
    except jsonlines.LineError as error:
        reason = str(error)
    except TopicError as error:
        reason = f"topic: {error}"
    except FrameTooLarge as error:
        reason = str(error)
    except ValueError as error:
        reason = _CORRELATION.sub("correlation: ", str(error))
    else:
        progress.published += 1
        return True
    progress.bad += 1
    progress.clear()
    output.say(PROG, f"line {progress.lines}: {in_options(reason)}")
    return False
