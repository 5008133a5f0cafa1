"""A loop that will not watch a connection, which nobody would read then: its users are told so, once, by every call."""

import asyncio
import errno

import pytest

from daemoneye_eventbus import Broker, ClientConfig, EventBus, TransportError

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


def test_what_the_kernel_refuses_it_is_asked_once(path):
    async def main():
        async with Broker(path) as broker, EventBus.from_broker(broker):
            asyncio.get_running_loop().refusal = OSError(errno.ENOSPC, "No space left on device")
            with pytest.raises(TransportError, match=f"watch the connection to {path}: ") as refused:
                await EventBus.connect(path, config=SOLO)
            assert refused.value.errno == errno.ENOSPC

    run(main())


def test_a_loop_that_refuses_for_good_is_not_asked_without_end(path):
    """It was asked in each of its turns, and each time its handler of exceptions was told."""

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
