"""One bridge per event loop: how Rust's threads wake it, and how requests to them are awaited.

The loop watches one socket. A wake-up leaves a token, and the bridge calls the method that listens for that token.
Listeners are held weakly: an object that is forgotten is collected, and its token has no effect any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import weakref
from typing import TYPE_CHECKING, Any, Final

from daemoneye_eventbus import _logs
from daemoneye_eventbus._bindings import LoopWaker, PendingReply, Waiter
from daemoneye_eventbus._native import _wake_for_logs
from daemoneye_eventbus._waiters import may_run_tasks
from daemoneye_eventbus._wakeup_reader import dispatch_by_reading
from daemoneye_eventbus.errors import ForkedProcess, WrongLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Bridge"]

_log = logging.getLogger("daemoneye_eventbus.client")


class Bridge:
    """The waker of one loop, and its listeners."""

    _bridges: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Bridge]] = weakref.WeakKeyDictionary()

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self.waker = LoopWaker(loop)
        self._tokens = itertools.count(1)
        self._listeners: dict[int, Callable[[], Callable[[], object] | None]] = {}
        self._fork_is_warned_of = False
        self.watches_descriptors = self._watch_waker(loop)
        if not self.watches_descriptors:
            dispatch_by_reading(loop, self.waker, self.dispatch)
        _wake_for_logs(self.waker, self.listen(self._log))
        self.waker.wake_for_publishers(self.listen(self._serve_publishers))
        # Lines that were logged before there was a loop to take them.
        loop.call_soon(self._log)

    def _watch_waker(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether the loop watches descriptors; then it watches the waker's socket from now on."""
        # On Windows a loop may watch sockets, but none watches pipes.
        if os.name == "nt":
            return False
        try:
            loop.add_reader(self.waker.fileno(), self.drain)
        except NotImplementedError:
            return False
        return True

    @classmethod
    def current(cls) -> Bridge:
        """The bridge of the running loop; raises `ForkedProcess` if that is the parent's."""
        _logs.refresh()
        loop = asyncio.get_running_loop()
        bridge = cls._bridges.get(loop)
        if bridge is None:
            cls._forget_closed()
            bridge = cls._bridges[loop] = cls(loop)
        try:
            bridge.waker.check()
        except ForkedProcess as error:
            owner, current = error.owner_pid, error.current_pid
            raise ForkedProcess(
                f"the running event loop belongs to process {owner}, and this is process {current}; run what uses the "
                "bus here in a loop of its own, with asyncio.run",
                owner_pid=owner,
                current_pid=current,
            ) from None
        return bridge

    @classmethod
    def _forget_closed(cls) -> None:
        """Lets go of tasks that publish in closed loops: they hold their loop, which holds its bridge, and so them."""
        # Other threads' loops come and go meanwhile: a list of the references is one step.
        for reference in cls._bridges.keyrefs():
            loop = reference()
            bridge = None if loop is None else cls._bridges.get(loop)
            if bridge is not None and bridge.is_closed:
                bridge.waker.forget_publishers()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop; raises `WrongLoop` when it is gone."""
        loop = self._loop()
        if loop is None or loop.is_closed():
            raise WrongLoop("the event loop of this object is closed; make a new one in the running loop")
        return loop

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be scheduled any more."""
        loop = self._loop()
        return loop is None or loop.is_closed()

    @property
    def is_running(self) -> bool:
        """Whether what is scheduled now gets its turn soon."""
        loop = self._loop()
        return loop is not None and loop.is_running()

    def check(self) -> asyncio.AbstractEventLoop:
        """The loop, if it is the running one and this is not a forked child."""
        return self.waker.check_loop()

    def call(self, method: Callable[[], object]) -> None:
        """Has the loop call ``method``, from any thread; a loop that is closed never does."""
        loop = self._loop()
        if loop is not None:
            # Another thread may close it between any look and this.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(method)

    def call_next_turn(self, method: Callable[[], object]) -> None:
        """Has the loop, which runs, call ``method`` in its next turn; for a step on its thread."""
        loop = self.loop
        # Outside of a task this may be a signal handler; `call_soon` does not wake a loop that sleeps.
        turn = loop.call_soon if asyncio.current_task(loop) else loop.call_soon_threadsafe
        turn(method)

    def listen(self, method: Callable[[], object]) -> int:
        """A token that calls ``method``, a bound method, for as long as its owner lives."""
        token = next(self._tokens)
        listeners = self._listeners
        # Any thread may collect the owner; taking an entry out of a dict is one step.
        listeners[token] = weakref.WeakMethod(method, lambda _gone: listeners.pop(token, None))
        return token

    def forget(self, token: int) -> None:
        """Removes the listener of a token."""
        self._listeners.pop(token, None)

    def drain(self) -> None:
        """Calls the listeners of all tokens. A callback of the loop, so that woken tasks may run at once."""
        self._dispatch_tokens(self.waker.drain)

    def dispatch(self) -> None:
        """The same after `LoopWaker.suppress`, or where the socket has been read."""
        self._dispatch_tokens(self.waker.take)

    def dispatch_soon(self) -> None:
        """The same in the next turn of the loop, in which the caller runs."""
        self.loop.call_soon(self.waker.with_fallback(self.dispatch))

    def _dispatch_tokens(self, take: Callable[[], Iterable[int]]) -> None:
        try:
            self._notify_listeners(take())
        except ForkedProcess:
            # A forked child that goes on running its parent's loop shares its socket, but has no listeners to call.
            return
        except BaseException:
            # A Ctrl-C may come between any two steps, and then the tokens are lost. So every listener is called, in
            # this run of the loop or, if it has ended, in the next; a call too many does no harm.
            self.loop.call_soon(self._dispatch_tokens, self._listeners.copy)
            raise

    def warn_of_fork(self, error: ForkedProcess) -> None:
        """Warns, once, that a forked child runs its parent's loop, whose connections remain the parent's."""
        if not self._fork_is_warned_of:
            self._fork_is_warned_of = True
            _log.warning("a forked child runs its parent's event loop, but none of that loop's buses: %s", error)

    def _notify_listeners(self, tokens: Iterable[int]) -> None:
        for token in tokens:
            listener = self._listeners.get(token)
            if listener is None:
                continue
            method = listener()
            if method is None:
                continue
            try:
                method()
            except Exception as error:  # noqa: BLE001  # an error of one listener must not cost others their wake-up
                self.loop.call_exception_handler({"message": f"waking {method!r} failed", "exception": error})
                # It may have been a signal handler that raised, and then the listener has missed its wake-up.
                self.loop.call_soon(method)

    def _log(self) -> None:
        _logs.emit()

    def _serve_publishers(self) -> None:
        self.waker.serve_publishers(may_run_tasks(self.loop))

    async def ask(self, question: Callable[[LoopWaker, int], PendingReply]) -> Any:
        """Asks, and waits for the answer; raises what was refused."""
        answer = _Answer(self.check())
        token = self.listen(answer.arrived)
        try:
            answer.reply = question(self.waker, token)
            await answer.waiter
            return answer.reply.result()
        finally:
            self.forget(token)


class _Answer:
    """That of one of Rust's threads to a request, whose ``reply`` it is once that has been made."""

    reply: Any = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.waiter = Waiter(loop)

    def arrived(self) -> None:
        """It may have come."""
        if self.reply is not None and self.reply.done:
            self.waiter.wake()
