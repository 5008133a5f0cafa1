"""Signals that the host blocks in its threads are not delivered to threads of this package."""

import contextlib
import signal
import sys

import pytest

from daemoneye_eventbus import Broker, ClientConfig, EventBus

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no masks of signals")


def test_signals_that_the_host_blocks_stay_pending_for_it(path, program):
    """Our threads once blocked nothing: a SIGTERM that the host waited for ended the process."""
    host = program("masked.py", path)
    assert host.json() == ["waited for", "handled"]
    host.finish()


@pytest.mark.parametrize("what", ["broker", "bus"])
async def test_a_handler_that_raises_leaves_the_mask_of_the_host_as_it_was(path, what):
    """At every point of the start of a thread of ours. All signals once stayed blocked for ever in the host's own."""
    met = 0

    def interrupt_at(number):
        def profile(frame, event, _argument):
            nonlocal met
            # `signal.pthread_sigmask` too is Python code.
            file = frame.f_code.co_filename
            if event in ("call", "c_return") and file.endswith(("/_signals.py", "/signal.py")):
                met += 1
                if met == number:
                    sys.setprofile(None)
                    raise ArithmeticError

        return profile

    async def visit(number):
        async with contextlib.AsyncExitStack() as stack:
            open_one = {
                "broker": lambda: Broker(f"{path}{number}"),
                "bus": lambda: EventBus.connect(path, config=ClientConfig(pool=False)),
            }
            opened = open_one[what]()
            # Kept: the interpreter does not keep what it calls.
            profile = interrupt_at(number)
            with contextlib.suppress(ArithmeticError):
                sys.setprofile(profile)
                await opened.__aenter__()
            sys.setprofile(None)
            stack.push_async_exit(opened)

    number = 0
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    async with Broker(path):
        while met >= number:
            number += 1
            met = 0
            try:
                await visit(number)
            finally:
                after = signal.pthread_sigmask(signal.SIG_SETMASK, before)
            assert after == before, f"{len(after - before)} more are blocked after point {number}"
    assert number > 3
