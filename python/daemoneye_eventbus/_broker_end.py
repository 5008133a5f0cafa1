"""The end of a broker, and who is told of it: each registration once, also one that comes when it is over.

A signal handler may raise between any two steps: whoever was not told then is told by the next call that ends the
broker. What an observer itself raises, as an ``Exception``, is its own: it was told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemoneye_eventbus._loop import Bridge

__all__ = ["BrokerEnd"]


class BrokerEnd:
    """Observers register and end it from any thread, so each of these is one operation of a dict."""

    __slots__ = ("_is_over", "_observers")

    def __init__(self) -> None:
        self._observers: dict[object, Callable[[], None]] = {}
        self._is_over = False

    def observe(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Calls ``tell`` at the end, or at once if that has come. The result cancels this registration alone."""
        registration = object()

        def cancel() -> None:
            self._observers.pop(registration, None)

        self._observers[registration] = tell
        # Whoever ends it meanwhile tells it or not; of the two, one takes it out.
        if self._is_over and self._observers.pop(registration, None) is not None:
            tell()
        return cancel

    def tell_all(self, bridge: Bridge) -> None:
        """It is over. What an observer raises is reported by the loop of ``bridge``."""
        self._is_over = True
        for registration, tell in self._observers.copy().items():
            try:
                if self._observers.pop(registration, None) is not None:
                    self._tell(tell, bridge)
            except BaseException:
                self._observers[registration] = tell
                raise

    @staticmethod
    def _tell(tell: Callable[[], None], bridge: Bridge) -> None:
        try:
            tell()
        except Exception as error:  # noqa: BLE001  # one observer's trouble must not keep it from the others
            bridge.loop.call_exception_handler({"message": f"telling {tell!r} failed", "exception": error})
