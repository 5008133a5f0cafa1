"""Signals that the host blocks in its threads are not delivered to threads of this package."""

import contextlib
import signal
import sys

import pytest

from daemoneye_eventbus import Broker, ClientConfig, EventBus
from interrupter import at_each_point, within

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no masks of signals")


def test_signals_that_the_host_blocks_stay_pending_for_it(path, program):
    """Our threads once blocked nothing: a SIGTERM that the host waited for ended the process."""
    host = program("masked.py", path)
    assert host.json() == ["waited for", "handled"]
    host.finish()


@pytest.mark.parametrize("what", ["broker", "bus"])
async def test_a_handler_that_raises_leaves_the_mask_of_the_host_as_it_was(path, what):
    """At every point of the start of a thread of ours. All signals once stayed blocked for ever in the host's own."""

    async def interrupted(interrupter):
        try:
            async with contextlib.AsyncExitStack() as stack:
                open_one = {
                    "broker": lambda: Broker(f"{path}{interrupter.number}"),
                    "bus": lambda: EventBus.connect(path, config=ClientConfig(pool=False)),
                }
                opened = open_one[what]()
                with contextlib.suppress(ArithmeticError), interrupter:
                    await opened.__aenter__()
                stack.push_async_exit(opened)
        finally:
            after = signal.pthread_sigmask(signal.SIG_SETMASK, before)
        assert after == before, f"{len(after - before)} more are blocked after point {interrupter.number}"

    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    async with Broker(path):
        # `signal.pthread_sigmask` too is Python code.
        await at_each_point(interrupted, within("/_signals.py", "/signal.py"), least=3)
