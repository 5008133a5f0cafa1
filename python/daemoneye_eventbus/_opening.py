"""What ``connect``, ``from_broker`` and ``subscribe`` return: await it for the object, enter it to have it closed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Never, TypeVar

__all__ = ["Opening"]

T = TypeVar("T", bound=AbstractAsyncContextManager[Any, Any])


class Opening(Coroutine[Any, Any, T], AbstractAsyncContextManager[T, None], Generic[T]):
    """A coroutine and an asynchronous context manager in one. Nothing happens before the first await."""

    __slots__ = ("__name__", "__weakref__", "_coroutine", "_entered", "_make", "_used")

    def __init__(self, name: str, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        # asyncio shows it where it shows a task.
        self.__name__: str = name
        self._make = make
        self._used = False
        self._coroutine: Coroutine[Any, Any, T] | None = None
        self._entered: T | None = None

    def __reduce__(self) -> Never:
        raise TypeError(f"cannot copy or pickle {self.__name__}(): call it again for another")

    if not TYPE_CHECKING:
        # A type checker knows by itself that this is not yet what it is taken for.
        def __getattr__(self, name: str) -> Never:
            # Not by `self`: one that never came to a name would look for it here again.
            own = object.__getattribute__(self, "__name__")
            advice = "await it, or enter it with async with, for what it makes"
            raise AttributeError(f"{own}() has no {name!r}; {advice}", name=name, obj=self)

    def __repr__(self) -> str:
        return f"<{self.__name__}() {'begun' if self._used else 'not awaited yet'}>"

    def _start(self) -> Coroutine[Any, Any, T]:
        if self._used:
            raise RuntimeError(f"{self.__name__}() was awaited already; call it again for another")
        self._used = True
        return self._make()

    def __await__(self) -> Generator[Any, Any, T]:
        return self._start().__await__()

    def __aiter__(self) -> object:
        """Refuses. What it returns is no iterator, so that a type checker refuses as well."""
        self._used = True
        raise TypeError(f"{self.__name__}() was not awaited; say: async for ... in await {self.__name__}(...)")

    def send(self, value: Any, /) -> Any:
        """Part of the coroutine protocol."""
        if self._coroutine is None:
            self._coroutine = self._start()
        return self._coroutine.send(value)

    def throw(self, typ: Any, val: Any = None, tb: TracebackType | None = None, /) -> Any:
        """Part of the coroutine protocol."""
        if self._coroutine is None:
            self._coroutine = self._start()
        try:
            if val is None and tb is None:
                return self._coroutine.throw(typ)
            return self._coroutine.throw(typ, val, tb)
        finally:
            # What is raised holds this frame, which must not hold it.
            del typ, val, tb

    def close(self) -> None:
        """Part of the coroutine protocol."""
        self._used = True
        if self._coroutine is not None:
            self._coroutine.close()

    async def __aenter__(self) -> T:
        self._entered = await self._start()
        await self._entered.__aenter__()
        return self._entered

    async def __aexit__(
        self, typ: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        entered, self._entered = self._entered, None
        if entered is not None:
            await entered.__aexit__(typ, value, traceback)

    def __del__(self) -> None:
        if not self._used:
            warnings.warn(f"{self.__name__}() was never awaited; nothing happened", ResourceWarning, stacklevel=2)
