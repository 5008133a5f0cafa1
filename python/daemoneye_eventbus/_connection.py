"""One link to a broker and the loop that serves it; shared by the buses of a pool.

The loop flushes what publishers have buffered once a turn; only when the kernel refuses bytes does anybody wait for it
to take more. Whether the loop or a thread does that, and reads, depends on the loop (`_reading`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeAlias

from daemoneye_eventbus._backpressure import RoomCallbacks
from daemoneye_eventbus._bindings import Address, Link
from daemoneye_eventbus._deadline import QuietTimeout
from daemoneye_eventbus._lifecycle import after_fork, watch_link
from daemoneye_eventbus._loop import Bridge
from daemoneye_eventbus._reading import reading
from daemoneye_eventbus._signals import with_signals_blocked
from daemoneye_eventbus._waiters import Waiters
from daemoneye_eventbus.errors import ForkedProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemoneye_eventbus._config import ClientConfig
    from daemoneye_eventbus._types import State

__all__ = ["Connection"]

_Key: TypeAlias = tuple[Bridge, Address, tuple[object, ...]]


class Connection:
    """A link, watched. ``users`` has a token of each bus that shares it."""

    _pool: Final[dict[_Key, Connection]] = {}

    def __init__(self, bridge: Bridge, address: Address, config: ClientConfig, *users: object) -> None:
        self.bridge = bridge
        self.config = config
        self.address = address
        self.users = set(users)
        self._key: _Key | None = None
        self._state_token = bridge.listen(self._on_change)
        self.room_token = bridge.listen(self._on_room)
        self.room = RoomCallbacks()
        self.changed = Waiters()
        self.observers: set[Callable[[State], None]] = set()
        # The first one starts the thread of all links.
        self.link = with_signals_blocked(
            lambda: Link(address, config, bridge.waker, self._state_token, bridge.watches_descriptors)
        )
        self._reading = reading(bridge, self.link)
        self.unsent_is_told = watch_link(self.link)

    @classmethod
    def shared(cls, bridge: Bridge, address: Address, config: ClientConfig, user: object) -> Connection:
        """The pool's connection for this loop, address and config, or a new one; ``user`` is one more who uses it."""
        if not config.pool:
            return cls(bridge, address, config, user)
        # Connections of closed loops leave the pool. They stay open: a bus there may still use `publish_nowait`.
        # Other threads' loops come and go meanwhile: a copy is one step.
        for key in cls._pool.copy():
            if key[0].is_closed:
                cls._pool.pop(key, None)
        key = (bridge, address, config._key())
        found = cls._pool.get(key)
        # Any thread may collect the last user, but not between this look at them and adding to them.
        if found is not None and found.state != "closed" and found.users:
            found.users.add(user)
            return found
        made = cls._pool[key] = cls(bridge, address, config, user)
        made._key = key
        return made

    @property
    def state(self) -> State:
        """The state of the link."""
        return self.link.state

    def cause(self) -> BaseException | None:
        """Why it ended, if not by its owner."""
        return self.link.cause()

    async def wait_connected(self) -> None:
        """Waits until it is connected; raises why it is not in the ``connect_timeout`` that begins now."""
        await self.bridge.ask(self.link.wait_connected)
        # Changes up to now are not for observers of the bus that is being made.
        self._notify_observers()

    def release(self, user: object) -> bool:
        """``user`` is none any more. True if nobody is: then it is to be closed."""
        self.users.discard(user)
        if self.users:
            return False
        if self._key is not None and self._pool.get(self._key) is self:
            self._pool.pop(self._key, None)
        return True

    def close(self) -> None:
        """Ends the link at once and lets go of the loop. What the kernel has is delivered or counted."""
        self.link.close()
        if not self.bridge.is_closed:
            self._reading.update()
        self.changed.wake_all()
        self.room.call()

    def abandon(self) -> None:
        """The same from any thread and without a wait, for what was forgotten.

        The loop lets go when it gets to it. What was published, the link's thread sends if the broker takes it soon;
        what it does not take is logged.
        """
        self.link.forget()
        self.unsent_is_told()
        self.bridge.call(self._reading.update)

    def _on_change(self) -> None:
        self.link.resume()
        self._notify_observers()
        self._reading.update()
        self.changed.wake_all()

    def _notify_observers(self) -> None:
        while (change := self.link.next_change()) is not None:
            for observer in list(self.observers):
                observer(change)

    def _on_room(self) -> None:
        self.room.call()

    def flush_soon(self) -> None:
        """One flush for everything published in this turn of the loop."""
        if self.bridge.is_running:
            self.bridge.call_next_turn(self.link.with_fallback(self._flush))
            return
        # The loop has no next turn now, and may never have one. What was accepted is sent, not refused.
        while (blocked := self.link.flush()) is False:
            pass
        if blocked:
            self.link.write_elsewhere()

    def _flush(self) -> None:
        try:
            blocked = self.link.flush()
            if blocked:
                self.kernel_is_full()
            elif blocked is False:
                self.bridge.loop.call_soon(self.link.with_fallback(self._flush))
        except ForkedProcess as error:
            self.bridge.warn_of_fork(error)
        except BaseException:
            # A Ctrl-C: this flush is lost. The link's thread writes what waits for the kernel, the next turn the rest.
            self.link.write_elsewhere()
            self.flush_soon()
            raise

    def kernel_is_full(self) -> None:
        """Goes on writing when the kernel takes bytes again."""
        if self.bridge.is_running:
            self._reading.kernel_is_full()
        else:
            self.link.write_elsewhere()

    async def leave(self, timeout: float) -> bool:
        """Sends BYE and waits, ``timeout`` seconds at most, until the broker has sent what it still has for us.

        Whether it did in time; it is closed then. Where that was interrupted it is not: call this again, or `close`.
        """
        limit = QuietTimeout(asyncio.timeout(timeout))
        self.link.leave()
        async with limit:
            while self.state == "connected":
                await self.changed.wait(self.changed.join(self.bridge.check()))
        self.close()
        return not limit.expired


after_fork(Connection._pool.clear)
