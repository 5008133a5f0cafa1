"""A loop that refuses to watch a connection, so that nothing would read it: every call raises the reason."""

import asyncio
import errno
from typing import ClassVar

import pytest

from daemoneye_eventbus import Broker, ClientConfig, EventBus, TransportError
from support import collect, pids, process

SOLO = ClientConfig(pool=False)


class RefusingLoop(asyncio.SelectorEventLoop):
    """Refuses with ``refusal``, once there is one, to watch any further descriptor."""

    refusal: Exception | None = None

    def add_reader(self, fd, callback, *args):
        if self.refusal is not None:
            raise self.refusal
        return super().add_reader(fd, callback, *args)


def run(main):
    with asyncio.Runner(loop_factory=RefusingLoop) as runner:
        runner.run(main)


def test_a_watch_that_the_kernel_refuses_is_tried_once(path):
    async def main():
        async with Broker(path) as broker, EventBus.from_broker(broker):
            asyncio.get_running_loop().refusal = OSError(errno.ENOSPC, "No space left on device")
            # A connection that is there before the loop was told of it is seen for a moment.
            with pytest.raises(TransportError, match=f"watch the connection to {path}: ") as refused:
                async with EventBus.connect(path, config=SOLO) as bus:
                    await asyncio.wait_for(bus.subscribe("events.#"), 5)
            assert refused.value.errno == errno.ENOSPC

    run(main())


def test_a_loop_that_always_refuses_is_asked_a_few_times(path):
    """It was once asked in each turn, and its exception handler was called each time."""

    async def main():
        loop = asyncio.get_running_loop()
        said = []
        loop.set_exception_handler(lambda _loop, context: said.append(context["exception"]))
        async with Broker(path) as broker, EventBus.from_broker(broker):
            loop.refusal = RuntimeError("File descriptor 9 is used by transport")
            # At first this may come of a signal, so that the connection may be seen for a moment.
            with pytest.raises(TransportError, match=f"watch the connection to {path}: File descriptor 9"):
                async with EventBus.connect(path, config=SOLO) as bus:
                    await asyncio.wait_for(bus.subscribe("events.#"), 5)
            for _ in range(100):
                await asyncio.sleep(0)
            assert 1 <= len(said) < 10
            assert set(said) == {loop.refusal}

    run(main())


class InterruptedLoop(asyncio.SelectorEventLoop):
    """Signals' handlers raise in it: first while it gives up watching for writing, then while it is asked anew."""

    errors: ClassVar[dict[str, BaseException]] = {}

    def remove_writer(self, fd):
        if "remove_writer" in self.errors:
            raise self.errors.pop("remove_writer")
        return super().remove_writer(fd)

    def add_reader(self, fd, callback, *args):
        if "add_reader" in self.errors:
            raise self.errors.pop("add_reader")
        return super().add_reader(fd, callback, *args)


def test_an_interrupt_during_a_retry_leaves_no_connection_unread(path, program):
    """A Ctrl-C right after a handler's error: the connection was once not watched any more."""

    async def prepare():
        bus = await EventBus.connect(path, config=SOLO)
        return bus, await bus.subscribe("events.#")

    async def interrupted():
        # Nothing is read there, so that the kernel is full and the loop watches for writing.
        elsewhere.freeze()
        # More than the kernel takes, and less than the send buffer.
        for pid in range(40):
            bus.publish_nowait(process(pid, command_line="x" * 50_000))
        await asyncio.sleep(0.1)
        InterruptedLoop.errors.update(remove_writer=OSError("of a handler's"), add_reader=KeyboardInterrupt())
        elsewhere.thaw()
        await asyncio.sleep(10)

    async def after():
        assert pids(await collect(events, 40, timeout=5)) == list(range(40))
        await bus.shutdown()

    elsewhere = program("broker.py", path)
    assert elsewhere.json() == {"ready": True}
    with asyncio.Runner(loop_factory=InterruptedLoop) as runner:
        bus, events = runner.run(prepare())
        with pytest.raises(KeyboardInterrupt):
            runner.run(interrupted())
        assert not InterruptedLoop.errors
        runner.run(after())
    elsewhere.finish()
