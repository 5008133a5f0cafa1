"""The broker as Python starts, stops and watches it.

It runs on a thread of its own, whatever the event loop does; calls that take time are requests to that thread.
"""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Final, Never, Self

from daemoneye_eventbus._bindings import Address, BrokerCore, LocalLink, LoopWaker, PendingReply
from daemoneye_eventbus._broker_end import BrokerEnd
from daemoneye_eventbus._checks import file_path, instance_or_default, integer, items, short, text, wrong_type
from daemoneye_eventbus._config import BrokerConfig, ClientConfig
from daemoneye_eventbus._deadline import seconds
from daemoneye_eventbus._lifecycle import is_forked, is_left_in_fork, watch_broker
from daemoneye_eventbus._loop import Bridge
from daemoneye_eventbus._signals import with_signals_blocked
from daemoneye_eventbus._types import BrokerStatistics, ClientInfo
from daemoneye_eventbus.errors import EventBusError, ForkedProcess

__all__ = ["Broker"]

_LONGEST_SHUTDOWN: Final = 24 * 3600.0
_LONGEST_ID: Final = 64
_LARGEST_DESCRIPTOR: Final = 2**31 - 1


def _fileno(listener: object) -> int:
    fileno = getattr(listener, "fileno", None)
    if fileno is None:
        raise wrong_type("listener", "a socket or its descriptor", listener)
    return int(fileno())


def _id(given: object) -> str:
    given = text("client_id", given)
    if not given.isascii() or len(given) > _LONGEST_ID:
        raise ValueError(f"client_id: {short(given)} is no id; take one from clients()")
    return given


class Broker:
    """A broker embedded in this process, on a thread of its own.

    Use it as ``async with Broker(path)``, or `start` and `shutdown` it. Give either the socket's ``path`` or an
    ``instance``: ``"x"`` stands for ``/tmp/daemoneye-x.sock``. ``config`` holds all limits; its defaults are those of
    `BrokerConfig`. Starting raises `BrokerAlreadyRunning`, `PathRefused` and, for other errors of the system,
    `TransportError`; an invalid argument is ``ValueError``. A broker that was shut down cannot be started again; one
    whose start has failed can.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        instance: str | None = None,
        config: BrokerConfig | None = None,
    ) -> None:
        if (path is None) == (instance is None):
            raise ValueError("path: give exactly one of path and instance")
        self._config = instance_or_default(BrokerConfig, "config", config)
        if path is None:
            self._address = Address(instance=text("instance", instance))
        else:
            self._address = Address(path=file_path(path))
        self._core = BrokerCore(self._address, self._config)
        self._end = BrokerEnd()
        self._pid = os.getpid()

    @classmethod
    def from_listener(cls, listener: int | socket.socket, *, config: BrokerConfig | None = None) -> Self:
        """A broker on a Unix stream socket that is already listening: from a service manager, or one of your own.

        The broker duplicates the descriptor; closing ``listener``, a socket or a descriptor, remains up to you. Path,
        mode and group stay the owner's: the broker checks, locks and removes nothing there, and ``socket_mode`` and
        ``socket_group`` have no effect; the rest of ``config`` applies. The kernel is still asked who connects.
        ``ValueError`` if it is not such a socket, ``OSError`` if it is not open, ``NotImplementedError`` on Windows.
        """
        if os.name != "posix":
            raise NotImplementedError("a broker takes over a listening socket on Unix only")
        self = cls.__new__(cls)
        self._config = instance_or_default(BrokerConfig, "config", config)
        given = listener if isinstance(listener, int) else _fileno(listener)
        # A closed socket says -1, which the system knows as not open.
        descriptor = integer("listener", given, -1, _LARGEST_DESCRIPTOR)
        self._core = BrokerCore.from_listener(descriptor, self._config)
        self._address = self._core.address
        self._end = BrokerEnd()
        self._pid = os.getpid()
        return self

    @property
    def path(self) -> Path:
        """The socket's absolute path."""
        return self._address.path

    @property
    def running(self) -> bool:
        """Whether it listens and routes."""
        return self._core.running

    @property
    def reachable(self) -> bool:
        """Whether it runs, and the socket file still exists and belongs to it; the file is checked once per second.

        Once somebody has removed or replaced it, connected clients continue but no new one can connect: start another
        broker. While the file system does not answer, what was seen last counts.
        """
        return self._core.reachable

    def start(self) -> Coroutine[None, None, None]:
        """Starts listening; when it returns, clients can connect.

        If it fails, nothing is left of it, and it can be called again. If it is cancelled, the broker is shut down.
        ``ConnectionClosed`` if the broker was started already, or shut down.
        """
        return self._start()

    async def _start(self) -> None:
        bridge = self._bridge()
        begun = False

        def begin(waker: LoopWaker, token: int) -> PendingReply:
            nonlocal begun
            reply = self._core.start(waker, token)
            if reply.done:
                # A second start is refused at once, and must not shut down what the first one began.
                reply.result()
            begun = True
            return reply

        unwatch = watch_broker(self._core)
        try:
            await bridge.ask(lambda waker, token: with_signals_blocked(lambda: begin(waker, token)))
        except EventBusError:
            # It has failed by itself, and nothing is left of it.
            unwatch()
            raise
        except BaseException:
            if begun:
                # Otherwise its thread would still begin to listen, with nobody to stop it.
                self._core.shutdown(0.0, bridge.waker, 0)
                self._end.tell_all(bridge)
            raise

    def shutdown(self, timeout: float = 2.0) -> Coroutine[None, None, int]:
        """Stops listening, sends what is queued for at most ``timeout`` seconds, tells the clients, and closes.

        Returns how many messages could not be delivered, also to clients that went away meanwhile. Idempotent.
        """
        return self._shutdown(timeout)

    async def _shutdown(self, timeout: float) -> int:
        bound = min(max(seconds("timeout", timeout), 0.0), _LONGEST_SHUTDOWN)
        bridge = self._bridge()
        try:
            undelivered: int = await bridge.ask(lambda waker, token: self._core.shutdown(bound, waker, token))
        finally:
            # Also if this is cancelled: the broker ends all the same.
            self._end.tell_all(bridge)
        return undelivered

    def observe_end(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Calls ``tell`` when the broker has been shut down, in the thread that did it, or now if that is over.

        The result cancels this registration and no other, also of the same function. What ``tell`` raises goes to the
        exception handler of the loop that shut the broker down, or to you if it is called now.
        """
        if not callable(tell):
            raise wrong_type("tell", "a function without arguments", tell)
        self._check_process()
        return self._end.observe(tell)

    def statistics(self) -> BrokerStatistics:
        """The broker's totals since it started."""
        return BrokerStatistics(**self._core.statistics())

    def clients(self) -> list[ClientInfo]:
        """Who is connected now."""
        return [ClientInfo(**one) for one in self._core.clients()]

    def subscribe_client(self, client_id: str, patterns: Sequence[str]) -> None:
        """Sets what the peer of the original with the id ``client_id`` is sent: what matches one of ``patterns``.

        Such a peer cannot subscribe itself. It starts with ``BrokerConfig.original_patterns``, which this replaces;
        with an empty list it is sent nothing. Patterns are of its own grammar: ``+``, ``#``, domains ``events`` and
        ``control``, five segments. Raises `PatternError`, `PermissionRefused` for patterns that `BrokerConfig.rules` do
        not allow that peer, and `SubscriptionRefused` for a native client or a bus of this process, which subscribe
        themselves, for one that is not connected, and above ``max_patterns_per_client``.
        """
        peer = _id(client_id)
        texts: list[str] = []
        for pattern in items("patterns", patterns, "a sequence of patterns"):
            if not isinstance(pattern, str):
                raise wrong_type("patterns", "patterns as str", pattern)
            # What is not Unicode is in no pattern, and is refused by it.
            texts.append(pattern.encode(errors="replace").decode())
        self._core.subscribe_client(peer, texts)

    def disconnect_client(self, client_id: str) -> bool:
        """Disconnects the client with the id ``client_id``, which does not reconnect by itself.

        False if there is none, or if it is a bus of this process (``ClientInfo.peer`` is ``local``), which only its own
        `EventBus.shutdown` ends. ``ValueError`` if it is not a valid id.
        """
        return self._core.disconnect_client(_id(client_id))

    def _check_process(self) -> None:
        """Raises `ForkedProcess` in a forked child."""
        _ = self._core.running

    def _bridge(self) -> Bridge:
        # First: that there is no running loop would say less.
        self._check_process()
        return Bridge.current()

    def _local_link(self, config: ClientConfig) -> LocalLink:
        return self._core.local_link(config)

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(self, typ: object, value: BaseException | None, traceback: object) -> None:
        if not is_left_in_fork(value, self._pid):
            await self._shutdown(2.0)

    def __del__(self) -> None:
        if is_forked(getattr(self, "_pid", 0)) or not self._core.running:
            return
        warnings.warn(f"{self!r} was forgotten; shut it down or use async with", ResourceWarning, stacklevel=2)

    def __reduce__(self) -> Never:
        raise TypeError("cannot copy or pickle a Broker: its socket is one, and of this process")

    def __repr__(self) -> str:
        try:
            state = "running" if self.running else "not running"
        except ForkedProcess:
            state = "of the parent process"
        return f"<Broker {str(self.path)!r} {state}>"
