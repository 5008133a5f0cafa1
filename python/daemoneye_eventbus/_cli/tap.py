"""A connection to a broker that shows every frame of it, in both directions."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from daemoneye_eventbus import ClientConfig
from daemoneye_eventbus._cli import output
from daemoneye_eventbus._cli.address import address, token_of, trusted
from daemoneye_eventbus._cli.arguments import check_patterns
from daemoneye_eventbus._cli.exits import ERROR, NO_BROKER, OK, REFUSED, TOO_FEW, USAGE, CliError
from daemoneye_eventbus._cli.raw import UNPROVED, RawConnection, Refusal, Watch, handshake, text_parts
from daemoneye_eventbus._cli.users import effective_uid
from daemoneye_eventbus.errors import ConnectionLost, EventBusError, ProtocolError

if TYPE_CHECKING:
    import argparse

    from daemoneye_eventbus._native import Address

__all__ = ["follow"]

# Between two looks at whether anybody reads what is printed.
_TICK: Final = 0.5
_CODES: Final = {
    **dict.fromkeys(("not_permitted", "authentication_failed", "rights", UNPROVED), REFUSED),
    "pattern": USAGE,
    "subscription_refused": ERROR,
}
"""Of refusals; others say that no broker is there for us now."""
_SUBSCRIPTION: Final = 1


class Show(Protocol):
    """Prints a frame."""

    def __call__(self, body: bytes, offset: int, head: dict[str, Any]) -> None: ...


def follow(arguments: argparse.Namespace, show: Show) -> int:
    """Subscribes, or stays silent as an original client does, and shows what crosses the socket."""
    _check(arguments)
    place = address(arguments)
    began = time.monotonic()

    def watch(direction: str, offset: int, body: bytes) -> None:
        show(body, offset, {"direction": direction, "seconds": round(time.monotonic() - began, 6)})

    patience: float = getattr(arguments, "connect_timeout", 5.0)
    try:
        with _connect(place, patience, watch) as raw:
            _check_peer(arguments, raw)
            if not arguments.as_original:
                _subscribe(arguments, raw, patience)
            return _read(arguments, raw)
    except Refusal as refusal:
        raise CliError(str(refusal), _CODES.get(refusal.code, NO_BROKER)) from None
    except ProtocolError as error:
        said = f"{place.path}: who listens there is no broker: {error}; check the path"
        raise CliError(said, REFUSED) from None
    except EventBusError:
        raise
    except OSError as error:
        raise CliError(f"{place.path}: {error.strerror or error}", NO_BROKER) from None


def _connect(place: Address, patience: float, watch: Watch) -> RawConnection:
    """Tries again what the library tries again, and raises what it raises for the rest."""
    ends = time.monotonic() + patience
    while True:
        try:
            return RawConnection(place.path, patience, watch)
        except OSError as cause:
            refused, may_pass = place.dial_error(cause.errno or 0)
        if not may_pass:
            raise refused
        if time.monotonic() + _TICK / 10 >= ends:
            raise CliError(str(refused), NO_BROKER)
        time.sleep(_TICK / 10)


def _check(arguments: argparse.Namespace) -> None:
    trusted(arguments)
    if arguments.as_original and arguments.subscribe:
        raise CliError("--as-original: such a client cannot subscribe; leave --subscribe out", USAGE)
    check_patterns(arguments.subscribe)
    if arguments.dialect is not None and not arguments.as_original:
        # A connection speaks fewer than a file may hold.
        try:
            ClientConfig(dialect=arguments.dialect)
        except ValueError as error:
            said = str(error).replace("ClientConfig.dialect:", "--dialect:")
            raise CliError(f"{said}; with --live no other is spoken", USAGE) from None


def _check_peer(arguments: argparse.Namespace, raw: RawConnection) -> None:
    """As the library does, before a byte is sent."""
    peer = raw.peer()
    uids = trusted(arguments) or (effective_uid(), 0)
    if peer.uid not in uids:
        raise CliError(f"whoever listens runs as uid {peer.uid}; if that is right, give --server-uid", REFUSED)


def _subscribe(arguments: argparse.Namespace, raw: RawConnection, patience: float) -> None:
    handshake(raw, "decode", token_of(arguments), patience, dialect=arguments.dialect or "bincode")
    patterns = arguments.subscribe or ["events.#"]
    said: dict[str, Any] = {"id": _SUBSCRIPTION, "subscriber_id": "decode", "topic_patterns": patterns}
    raw.send("SUB", said | {"include_control": True})


def _read(arguments: argparse.Namespace, raw: RawConnection) -> int:
    ends = math.inf if arguments.timeout is None else time.monotonic() + arguments.timeout
    while arguments.count is None or raw.frames < arguments.count:
        left = ends - time.monotonic()
        if left <= 0:
            return OK if arguments.count is None else TOO_FEW
        try:
            body = raw.body(min(left, _TICK))
        except TimeoutError:
            if output.is_reader_gone():
                raise output.ReaderGone from None
            continue
        if body is None:
            raise ConnectionLost("the broker closed the connection")
        verb, said = _text(body)
        if verb == "PING":
            raw.send("PONG")
        if verb == "ERR" and said.get("id") == _SUBSCRIPTION:
            raise Refusal(said)
    return OK


def _text(body: bytes) -> tuple[str | None, dict[str, Any]]:
    """The verb and what it says; no verb if it is no control text."""
    try:
        verb, said = text_parts(body)
    except ValueError:
        return None, {}
    return verb, said or {}
