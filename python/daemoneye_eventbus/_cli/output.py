"""Text that leaves the program: escaped, in whole lines, and never into a pipe that nobody reads.

Results go to stdout, everything else to stderr. Both wait for whoever reads them, who so sets the pace. A broker, and a
command that was told to end, wait for no reader of stderr; and no command ends otherwise because it cannot be written.
"""

from __future__ import annotations

import errno
import io
import os
import re
import select
import sys
from typing import Any, Final, TextIO, cast

from daemoneye_eventbus._cli.background_writer import BackgroundWriter

__all__ = [
    "ReaderGone",
    "discard_stdout",
    "escape",
    "is_reader_gone",
    "is_terminal",
    "prepare_streams",
    "quoted",
    "say",
    "settle",
    "tell",
    "wait_no_longer",
    "write",
    "write_or_go_on",
]

_PRINTABLE_ASCII: Final = re.compile(r"[ -\[\]-~]*")
_NEEDS_QUOTES: Final = re.compile(r"[\s\"'=]")
_ONE_BYTE: Final = 0x100
_TWO_BYTES: Final = 0x10000
_stderr: Final = BackgroundWriter("stderr", waits=True)


class ReaderGone(Exception):
    """Whoever read our output has closed it."""


def prepare_streams() -> None:
    """Has characters that the locale cannot show escaped, instead of an error for them.

    A standard stream that is closed is opened on the null device: otherwise a socket would get its number.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or _stream(1)
    sys.stderr = sys.stderr or _stream(2)
    for name in ("stdout", "stderr"):
        stream: TextIO = getattr(sys, name)
        if blocking := _blocking_stream(stream):
            setattr(sys, name, blocking)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _blocking_stream(stream: TextIO) -> TextIO | None:
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    if sys.platform == "win32" or type(raw) is not io.FileIO:
        return None
    return io.TextIOWrapper(
        io.BufferedWriter(_BlockingFileIO(raw.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=bool(stream.line_buffering),
    )


class _BlockingFileIO(io.FileIO):
    """Waits until the descriptor takes what is written.

    Another process with the same pipe or terminal may make it non-blocking at any time; what it does not take at once
    would then be lost.
    """

    def write(self, data: Any, /) -> int:
        """Returns how much was taken; at least something."""
        if sys.platform == "win32":
            return super().write(data)
        while (written := cast("int | None", super().write(data))) is None:
            room = select.poll()
            room.register(self.fileno(), select.POLLOUT)
            room.poll()
        return written


def _stream(number: int) -> TextIO:
    # As the interpreter opens it: the descriptor stays open when the stream is collected.
    return open(number, "w", encoding="utf-8", closefd=False)


def escape(text: str) -> str:
    r"""``text`` on one line: what a terminal would obey or not show becomes ``\xNN``, ``\uNNNN``; a backslash two."""
    # A name on the bus was chosen by whoever is watched; it must not move the cursor of whoever watches.
    if _PRINTABLE_ASCII.fullmatch(text):
        return text
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    code = ord(character)
    if code < _ONE_BYTE:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < _TWO_BYTES else f"\\U{code:08x}"


def quoted(text: str) -> str:
    """``text`` escaped, and in quotes where it would not read as one word."""
    safe = escape(text)
    if safe and not _NEEDS_QUOTES.search(safe):
        return safe
    return '"' + safe.replace('"', '\\"') + '"'


def write(text: str) -> None:
    """Writes to stdout and lets it go at once; `ReaderGone` if nobody reads it."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        raise _unwritten(error) from None


def write_or_go_on(text: str) -> None:
    """The same; where nobody reads it now, it is written once somebody does, and nothing waits for that."""
    stdout = BackgroundWriter("stdout")
    stdout.give(text, wait=True)
    if stdout.error is not None:
        raise _unwritten(stdout.error)


def _unwritten(error: OSError) -> Exception:
    # Windows has no word of its own for it: what cannot be written there is "invalid".
    if isinstance(error, BrokenPipeError) or (sys.platform == "win32" and error.errno == errno.EINVAL):
        return ReaderGone()
    return OSError(error.errno, error.strerror, "stdout")


def is_terminal(stream: TextIO) -> bool:
    """Whether it is a terminal that obeys escape sequences, which a console of Windows by default does not."""
    return sys.platform != "win32" and os.environ.get("TERM") != "dumb" and stream.isatty()


def say(prog: str, text: str) -> None:
    """One line on stderr, before what is written to stdout next."""
    _stderr.give(f"{prog}: {escape(text)}\n", wait=True)


def tell(text: str) -> None:
    """Writes to stderr as it is."""
    _stderr.give(text)


def wait_no_longer() -> None:
    """For whoever reads stderr: neither a service nor an end is held up by that."""
    _stderr.wait_no_longer()


def settle() -> None:
    """What stderr can take is written; what it cannot take does not count as an error of the command."""
    _stderr.settle()
    try:
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)


def is_reader_gone() -> bool:
    """Whether stdout is a pipe that its reader has closed, found out without writing."""
    if sys.platform == "win32":
        return False
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def discard_stdout() -> None:
    """Gives the interpreter, which flushes at its end, somewhere to flush to."""
    _discard(sys.stdout)


def _discard(stream: TextIO) -> None:
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):
        return
