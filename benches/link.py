"""What a process of a run does with a bus, whatever the bus: publish and receive numbered messages of one size.

Each message is built anew from its number: ours as a typed event whose `pid` is the number, peers' as the number in
eight bytes before a ready-made rest, which is as cheap as it can be. The number is read at the other end.

Blocking buses implement the same coroutines without ever suspending, so that one set of roles serves both kinds. Loops
that decide a throughput are each bus's own (`flood`, `drain`).
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

WARM = 2**32 - 1
"""Sent until every subscriber has seen one; not counted."""
END = 2**32 - 2
"""The last message of a publisher."""
SIZE = 230
"""Bytes of a message unless a scenario varies them."""
TOPIC = "events.process.bench"
ECHO_TOPIC = "events.process.echo"

clock = time.perf_counter
_NUMBER = struct.Struct("<Q")
pack = _NUMBER.pack
unpack = _NUMBER.unpack_from
_PIECE = 256


class Payloads:
    """A peer's messages: the number, then what fills up to `size`. Fast loops say ``pack(number) + rest``."""

    def __init__(self, size: int) -> None:
        self.rest = bytes(33 + i * 7 % 90 for i in range(size - _NUMBER.size))

    def __call__(self, number: int) -> bytes:
        return pack(number) + self.rest


def number_of(payload: bytes | memoryview) -> int:
    """The field of a peer's message that its reader reads."""
    return int(unpack(payload)[0])


@dataclass
class Reception:
    """What one subscriber saw between the first message and the end marker."""

    publishers: int = 1
    warm: Callable[[], None] = lambda: None
    received: int = 0
    disorder: int = 0
    first: float = 0.0
    last: float = 0.0
    _ends: int = field(default=0, repr=False)
    _warmed: bool = field(default=False, repr=False)

    def begin(self, number: int) -> bool:
        """Every message up to the first counted one goes through here; true for that one."""
        if number == WARM:
            if not self._warmed:
                self._warmed = True
                self.warm()
            return False
        self.first = clock()
        self.received = 1
        if number and self.publishers == 1:
            self.disorder += 1
        return True

    def odd(self, number: int) -> bool:
        """A number out of sequence; true when it was the last publisher's end."""
        if number == END:
            self._ends += 1
            self.last = clock()
            return self._ends == self.publishers
        if number == WARM:
            return False
        self.received += 1
        if self.publishers == 1:
            self.disorder += 1
        return False

    @property
    def rate(self) -> float:
        """Messages a second between the first and the last."""
        return self.received / (self.last - self.first) if self.last > self.first else 0.0


class Link:
    """One end of a bus in one process. `options`: size, latency (true where single messages matter)."""

    blocking = False
    """Whether the calls block the thread."""

    def __init__(self, address: str, variant: str, options: dict[str, Any]) -> None:
        self.address = address
        self.variant = variant
        self.size = int(options.get("size", SIZE))
        self.latency = bool(options.get("latency", False))
        self.options = options
        self.payload = Payloads(self.size)

    async def open(self, topic: str) -> None:
        """Connects; `topic` is what `publish` publishes to."""
        raise NotImplementedError

    async def alone(self, topic: str) -> None:
        """`open` and `subscribe` within this process, without a socket."""
        raise NotImplementedError

    async def subscribe(self, topic: str) -> None:
        """Returns when subscribed, as far as this bus can know."""
        raise NotImplementedError

    async def publish(self, number: int) -> None:
        """One message."""
        raise NotImplementedError

    async def receive(self) -> int:
        """The next message's number."""
        raise NotImplementedError

    async def each(self, take: Callable[[int], bool]) -> None:
        """Hands each message's number to `take` the way this bus does it best, until that says true."""
        while not take(await self.receive()):
            pass

    async def echo(self) -> None:
        """Publishes what it receives, until the end marker."""
        while (number := await self.receive()) != END:
            await self.publish(number)

    async def flush(self) -> None:
        """Nothing published waits in this process any more."""

    async def close(self) -> None:
        """Gives up the connection."""

    async def flood(self, deadline: float, least: int) -> int:
        """Publishes until the deadline, `least` at least; how many."""
        number = 0
        while number < least or clock() < deadline:
            await self.flood_piece(number, number + _PIECE)
            number += _PIECE
        return number

    async def flood_piece(self, begin: int, end: int) -> None:
        """Publishes the numbers of one piece, one by one."""
        for number in range(begin, end):
            await self.publish(number)

    def counter(self, reception: Reception) -> Callable[[int], bool]:
        """`drain` for buses that call."""
        expected = 0

        def take(number: int) -> bool:
            nonlocal expected
            if number == expected and expected:
                expected += 1
                reception.received += 1
                return False
            if not reception.received:
                if reception.begin(number):
                    expected = number + 1
                return False
            expected = number + 1
            return reception.odd(number)

        return take

    async def drain(self, reception: Reception) -> None:
        """Receives until the end marker."""
        while not reception.begin(await self.receive()):
            pass
        expected = reception.received
        while True:
            number = await self.receive()
            if number == expected:
                expected += 1
                reception.received += 1
            else:
                expected = number + 1
                if reception.odd(number):
                    return
