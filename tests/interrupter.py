"""A signal handler that raises at the n-th of the points where the interpreter could run one."""

import asyncio
import sys

RUNS_HANDLERS = ("call", "c_return")
"""Of what is told to a profile function, where the interpreter looks for signals."""


def within(*files):
    """Points in the code of these files."""
    return lambda frame, event, _argument: event in RUNS_HANDLERS and frame.f_code.co_filename.endswith(files)


class Interrupter:
    """Raises ``error`` at point ``number``; ``met`` counts them. ``is_point`` gets what a profile function gets."""

    def __init__(self, number, is_point, error=ArithmeticError):
        self.number = number
        self.met = 0
        self._is_point = is_point
        self._error = error
        # Kept: the interpreter does not keep what it calls.
        self._trace = self._profile

    def __enter__(self):
        sys.setprofile(self._trace)
        return self

    def __exit__(self, *_raised):
        sys.setprofile(None)

    def _profile(self, frame, event, argument):
        if self._is_point(frame, event, argument):
            self.met += 1
            if self.met == self.number:
                sys.setprofile(None)
                raise self._error


def interrupters(is_point, least, error=ArithmeticError):
    """One for each point, until one does not raise; more than ``least`` do."""
    number = met = 0
    while met >= number:
        number += 1
        interrupter = Interrupter(number, is_point, error)
        yield interrupter
        met = interrupter.met
    assert number > least


async def at_each_point(interrupted, is_point, least, error=ArithmeticError):
    """Runs ``interrupted`` with one after the other."""
    # An interrupted callback of the loop is its own affair, and is called again.
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    for interrupter in interrupters(is_point, least, error):
        await interrupted(interrupter)
