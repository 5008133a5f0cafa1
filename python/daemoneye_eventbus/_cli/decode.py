"""``decode``: frames as JSON, from a file, from arguments, or as they cross a live socket.

For whoever finds out what the agents of a mixed fleet say to each other. A frame that cannot be read is named by its
number and offset, and the next one is read where the length says that it begins.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from daemoneye_eventbus import wire
from daemoneye_eventbus._cli import frames, output, tap
from daemoneye_eventbus._cli.address import add_client, seconds
from daemoneye_eventbus._cli.arguments import number
from daemoneye_eventbus._cli.commands import command
from daemoneye_eventbus._cli.exits import ERROR, OK, USAGE, CliError
from daemoneye_eventbus._cli.raw import MAX_BODY, PREFIX

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["add"]

_PROG: Final = "daemoneye-eventbus decode"


def add(commands: Any) -> None:
    """Adds the command."""
    parser = command(
        commands,
        "decode",
        run=_run,
        help="show frames as JSON",
        description="Show frames (a length of four bytes, little-endian, then the body) as JSON: those in hexadecimal "
        "arguments, in a file, on stdin, or with --live those of a connection to a broker, in both directions. "
        "For what cannot be decoded, the error and its offset are shown; the exit code is then 1.",
    )
    parser.add_argument(
        "hex", nargs="*", metavar="HEX", help="bytes of one or more frames; white space and : are ignored"
    )
    parser.add_argument("--file", metavar="FILE", help="read frames from a file, - for stdin")
    parser.add_argument("--body", action="store_true", help="each input is one body without its length")
    parser.add_argument(
        "--dialect",
        choices=wire.DIALECTS,
        help="how messages are encoded (default: detected for each; with --live the dialect to request, bincode)",
    )
    parser.add_argument(
        "--pretty",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="indented instead of one line per frame (default: on a terminal)",
    )
    live = parser.add_argument_group("live")
    live.add_argument("--live", action="store_true", help="connect to a broker and show what is sent and received")
    live.add_argument(
        "--subscribe", action="append", default=[], metavar="PATTERN", help="what to subscribe to (default: events.#)"
    )
    live.add_argument(
        "--as-original",
        action="store_true",
        help="send nothing but PONG, as a client of DaemonEye's own crate does, and show what such a client gets",
    )
    live.add_argument("--count", type=number(1), metavar="N", help="end with code 0 after N received frames")
    live.add_argument(
        "--timeout", type=seconds, metavar="SECONDS", help="end after this time; with code 6 if short of --count"
    )
    add_client(parser)


def _run(arguments: argparse.Namespace) -> int:
    printer = _Printer(arguments)
    if arguments.live:
        if arguments.hex or arguments.file is not None or arguments.body:
            raise CliError("--live has a connection to read; give it without HEX, --file and --body", USAGE)
        return tap.follow(arguments, printer.show) or (ERROR if printer.bad else OK)
    with _input(arguments) as streams:
        for index, stream in enumerate(streams):
            head = {"input": index + 1} if len(streams) > 1 else {}
            _decode(stream, printer, head, body=arguments.body)
    return ERROR if printer.bad else OK


class _Printer:
    """One JSON object for each frame; each bad one is also a line on stderr."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        pretty = sys.stdout.isatty() if arguments.pretty is None else arguments.pretty
        self._indent = 2 if pretty else None
        self._dialect: str | None = arguments.dialect
        self.bad = 0
        self.shown = 0

    def show(self, body: bytes, offset: int, head: dict[str, Any], *, prefix: int = PREFIX) -> None:
        """Decodes and prints."""
        self.shown += 1
        self.tell(head | {"frame": self.shown, "offset": offset} | frames.read(body, offset + prefix, self._dialect))

    def bad_frame(self, head: dict[str, Any], offset: int, reason: str) -> None:
        """Reports a frame whose body is missing or not read."""
        self.shown += 1
        self.tell(head | {"frame": self.shown, "offset": offset, "error": reason, "error_offset": offset})

    def tell(self, frame: dict[str, Any]) -> None:
        """Prints what is known of a frame."""
        output.write(json.dumps(frame, indent=self._indent) + "\n")
        if "error" in frame:
            self.bad += 1
            output.say(_PROG, f"frame {frame['frame']} at byte {frame['offset']}: {frame['error']}")


@contextlib.contextmanager
def _input(arguments: argparse.Namespace) -> Generator[list[BinaryIO], None, None]:
    if arguments.subscribe or arguments.as_original or arguments.count or arguments.timeout:
        raise CliError("--subscribe, --as-original, --count and --timeout belong to --live", USAGE)
    if arguments.hex:
        if arguments.file is not None:
            raise CliError("give HEX or --file, not both", USAGE)
        yield [io.BytesIO(_bytes(said)) for said in arguments.hex]
    elif arguments.file is not None and arguments.file != "-":
        with Path(arguments.file).open("rb") as file:
            yield [file]
    elif arguments.file is None and os.isatty(0):
        raise CliError("give HEX, --file FILE or --live", USAGE)
    else:
        with open(0, "rb", closefd=False) as stdin:
            yield [stdin]


def _bytes(said: str) -> bytes:
    digits = "".join(said.replace(":", " ").split()).removeprefix("0x")
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise CliError(f"{said[:40]!r} is not hexadecimal", USAGE) from None


def _decode(stream: BinaryIO, printer: _Printer, head: dict[str, Any], *, body: bool) -> None:
    if body:
        whole = stream.read(MAX_BODY + 1)
        if len(whole) > MAX_BODY:
            raise CliError(f"more than {MAX_BODY} bytes, which no broker allows in one body")
        printer.show(whole, 0, head, prefix=0)
        return
    at = 0
    while prefix := stream.read(PREFIX):
        size = int.from_bytes(prefix, "little")
        if len(prefix) < PREFIX:
            printer.bad_frame(head, at, f"cut off: a length has {PREFIX} bytes, and {len(prefix)} are there")
            return
        if size > MAX_BODY:
            # Whatever these bytes are, they are no length, and nothing says where the next one would stand.
            printer.bad_frame(head, at, f"a frame of {size} bytes, more than any broker allows; not read on")
            return
        frame = stream.read(size)
        if len(frame) < size:
            printer.bad_frame(head, at, f"cut off: the length says {size} bytes, and {len(frame)} are there")
            return
        printer.show(frame, at, head)
        at += PREFIX + size
