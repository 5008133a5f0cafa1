"""A signal handler that raises at the n-th of the points where the interpreter could run one."""

import asyncio
import sys


class Interrupter:
    """Raises ``ArithmeticError`` at point ``number`` of those that ``is_point(frame)`` takes; ``met`` counts them."""

    def __init__(self, number, is_point):
        self.number = number
        self.met = 0
        self._is_point = is_point
        # Kept: the interpreter does not keep what it calls.
        self._trace = self._profile

    def __enter__(self):
        sys.setprofile(self._trace)
        return self

    def __exit__(self, *_raised):
        sys.setprofile(None)

    def _profile(self, frame, event, _argument):
        if event in ("call", "c_return") and self._is_point(frame):
            self.met += 1
            if self.met == self.number:
                sys.setprofile(None)
                raise ArithmeticError


async def at_each_point(interrupted, is_point, least):
    """Runs ``interrupted`` with one `Interrupter` after the other until none raises; more than ``least`` do."""
    # An interrupted callback of the loop is its own affair, and is called again.
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    number = met = 0
    while met >= number:
        number += 1
        interrupter = Interrupter(number, is_point)
        await interrupted(interrupter)
        met = interrupter.met
    assert number > least
