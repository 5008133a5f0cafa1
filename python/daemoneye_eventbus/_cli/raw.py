"""A connection of the command line's own: frames as they cross the socket, for commands that show or check them.

Blocking, with a deadline on everything; Unix sockets only, as far as Python knows them.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, cast

from daemoneye_eventbus import ConnectionLost, ProtocolError, _native
from daemoneye_eventbus._cli import strict_json
from daemoneye_eventbus._cli.exits import CliError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

__all__ = [
    "MAX_BODY",
    "MESSAGE",
    "PREFIX",
    "UNKNOWN",
    "UNPROVED",
    "Peer",
    "RawConnection",
    "Refusal",
    "Watch",
    "answer",
    "handshake",
    "text_parts",
]

PREFIX: Final = 4
MAX_BODY: Final = 256 * 1024 * 1024
_CHUNK: Final = 256 * 1024
MESSAGE: Final = 0x10
"""The first byte of a message's body."""
_SHOWN: Final = 20
"""Characters of what is no verb."""

Watch: TypeAlias = Callable[[str, int, bytes], None]
"""Told of each frame: ``sent`` or ``received``, where it begins in that direction's stream, its body."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who listens, as the kernel says."""

    pid: int | None
    uid: int


def _unix_socket() -> socket.socket:
    if sys.platform == "win32":
        raise CliError("this command speaks over a Unix socket, which no pipe of Windows is; use clients or stats")
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


class RawConnection:
    """Raises ``OSError`` for what the kernel refuses, ``TimeoutError`` for what does not come, `ProtocolError` for what
    can be no frame."""

    def __init__(self, path: Path, timeout: float, watch: Watch | None = None) -> None:
        self.sent = self.received = self.frames = 0
        self._watch = watch
        self._socket = _unix_socket()
        self._buffer = bytearray()
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(str(path))
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, typ: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()

    def peer(self) -> Peer:
        """Who listens; one that the kernel does not name is refused, as by the library's client."""
        if sys.platform == "win32":
            raise CliError("users have no numbers on Windows")
        try:
            return Peer(*_native._peer_of(self._socket.fileno()))
        except ConnectionResetError:
            raise Refusal({"code": UNKNOWN, "message": _UNKNOWN}) from None

    def send(self, verb: str, said: dict[str, Any] | None = None) -> None:
        """Sends a control text. Whether that worked shows when the answer is read: an ``ERR`` may explain it."""
        body = verb.encode() if said is None else f"{verb} {json.dumps(said)}".encode()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(len(body).to_bytes(PREFIX, "little") + body)
        if self._watch is not None:
            self._watch("sent", self.sent, body)
        self.sent += PREFIX + len(body)

    def body(self, timeout: float) -> bytes | None:
        """The next frame's body; None at the end of the stream."""
        deadline = time.monotonic() + timeout
        while True:
            if len(self._buffer) >= PREFIX:
                size = int.from_bytes(self._buffer[:PREFIX], "little")
                if size == 0:
                    raise ProtocolError(f"byte {self.received}: an empty frame")
                if size > MAX_BODY:
                    raise ProtocolError(f"byte {self.received}: a frame of {size} bytes, more than any broker allows")
                if len(self._buffer) >= PREFIX + size:
                    body = bytes(self._buffer[PREFIX : PREFIX + size])
                    del self._buffer[: PREFIX + size]
                    if self._watch is not None:
                        self._watch("received", self.received, body)
                    self.received += PREFIX + size
                    self.frames += 1
                    return body
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"nothing whole came within {timeout:g} s")
            self._socket.settimeout(left)
            try:
                chunk = self._socket.recv(_CHUNK)
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                if self._buffer:
                    raise ConnectionLost(f"the stream ended {len(self._buffer)} bytes into a frame")
                return None
            self._buffer += chunk


def text_parts(body: bytes) -> tuple[str, dict[str, Any] | None]:
    """The verb of a control text and what it says; ``ValueError`` for what is none."""
    verb, space, said = body.decode().partition(" ")
    if not space:
        return verb, None
    value: Any = strict_json.loads(said)
    if not isinstance(value, dict):
        raise ValueError("an object must follow the verb")  # noqa: TRY004  # of what was received, not of an argument
    return verb, cast("dict[str, Any]", value)


UNKNOWN: Final = "unknown"
"""The kernel does not say who listens, and no client of ours speaks to such a one."""
_UNKNOWN: Final = "the kernel does not say who listens"
UNPROVED: Final = "unproved"
"""Whoever listens did not prove that it knows our token: nothing that it says is to be trusted."""


class Refusal(Exception):
    """The broker's ``ERR``, or that we refuse the broker."""

    def __init__(self, said: dict[str, Any]) -> None:
        self.code = str(said.get("code", ""))
        super().__init__(str(said.get("message", "")) or self.code)


def handshake(
    raw: RawConnection, client: str, token: bytes | None, timeout: float, *, dialect: str = "bincode"
) -> dict[str, Any]:
    """CONNECT, and with a token both proofs, as the library's client has it; what INFO says. Raises `Refusal`."""
    ours = secrets.token_hex(32)
    raw.send("CONNECT", {"protocol": 1, "client": client, "dialect": dialect, "nonce": ours})
    info = answer(raw, "INFO", timeout)
    if info.get("auth") == "token":
        if token is None:
            raise Refusal(
                {"code": "authentication_failed", "message": "the broker asks for a token; give --token-file"}
            )
        theirs = str(info.get("nonce", ""))
        raw.send("AUTH", {"proof": _native._token_proof(token, ours, theirs)})
        proof = answer(raw, "OK", timeout).get("proof")
        if not isinstance(proof, str) or not _native._token_proved(token, ours, theirs, proof):
            raise _unproved("the broker did not prove that it knows our token")
    elif token is not None:
        raise _unproved("the broker does not ask for the token, so that it proves nothing")
    return info


def _unproved(message: str) -> Refusal:
    return Refusal({"code": UNPROVED, "message": message})


def answer(raw: RawConnection, verb: str, timeout: float) -> dict[str, Any]:
    """What the next frame of this verb says; messages and other texts are passed over. Raises `Refusal` for ``ERR``."""
    deadline = time.monotonic() + timeout
    while (body := raw.body(max(deadline - time.monotonic(), 0.001))) is not None:
        if body[0] == MESSAGE:
            continue
        try:
            found, said = text_parts(body)
        except ValueError as error:
            raise ProtocolError(f"a frame that is neither a message nor a control text: {error}") from None
        if not found.isupper():
            raise ProtocolError(f"a frame that begins with {found[:_SHOWN]!r}, which is no verb")
        if found == "ERR":
            raise Refusal(said or {})
        if found == verb:
            return said or {}
    raise ConnectionLost(f"the connection was closed before {verb} came")
