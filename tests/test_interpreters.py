"""Interpreters of other kinds than the usual one: a second one of the process, and one without a lock."""

import ctypes
import itertools
import sys

import pytest

from daemoneye_eventbus import _native


def test_one_interpreter(program):
    """In a second one of the process the import is refused, and the first goes on: both were broken by it."""
    assert program("interpreters.py").line() == "refused, events.process.new"


@pytest.mark.skipif(not (3, 13) <= sys.version_info < (3, 15), reason="modules say it in no slot, or in another")
def test_a_free_threaded_interpreter_is_told_to_take_its_lock():
    """Nobody has proven this package without one, and the interpreter believed PyO3 that none was needed."""

    class Slot(ctypes.Structure):
        _fields_ = (("number", ctypes.c_int), ("value", ctypes.c_void_p))

    definition = ctypes.pythonapi.PyModule_GetDef
    definition.argtypes, definition.restype = [ctypes.py_object], ctypes.c_void_p
    # Seven words of `PyModuleDef` stand between its object and its slots.
    place = definition(_native) + object.__basicsize__ + 7 * ctypes.sizeof(ctypes.c_void_p)
    slot = ctypes.cast(ctypes.c_void_p.from_address(place).value, ctypes.POINTER(Slot))
    ours = itertools.takewhile(lambda at: slot[at].number, itertools.count())
    said = {slot[at].number: slot[at].value for at in ours}
    gil, used = 4, None
    assert said[gil] == used
