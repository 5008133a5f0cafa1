"""A broker whose start has failed: as if it had not been started."""

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from daemoneye_eventbus import (
    Broker,
    BrokerAlreadyRunning,
    ConnectionClosed,
    EventBus,
    PathRefused,
    TransportError,
)
from support import no_descriptors, process


@contextlib.asynccontextmanager
async def hindered(path, hindrance):
    # The descriptors of the loop are made first.
    await Broker(path).shutdown()
    if hindrance == "broker":
        async with Broker(path):
            yield
    elif hindrance == "file":
        Path(path).touch()
        yield
        Path(path).unlink()
    else:
        with no_descriptors():
            yield


def given(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        return Broker.from_listener(listener)


@pytest.mark.parametrize(
    ("make", "hindrance", "error"),
    [
        (Broker, "broker", BrokerAlreadyRunning),
        (Broker, "file", PathRefused),
        (Broker, "descriptors", TransportError),
        (given, "descriptors", TransportError),
    ],
)
async def test_it_can_be_tried_again(path, make, hindrance, error):
    """It said that the broker was shut down, which nobody had done, and no more what was wrong."""
    broker, told = make(path), []
    broker.observe_end(lambda: told.append("ended"))
    async with hindered(path, hindrance):
        for _ in range(3):
            with pytest.raises(error):
                await broker.start()
        with pytest.raises(ConnectionClosed, match="not running yet; start it first"):
            await EventBus.from_broker(broker)
    assert told == []
    async with broker, EventBus.connect(path) as bus, bus.subscribe("events.#") as events:
        await bus.publish(process(1))
        assert (await events.get(20)).event.pid == 1
    assert told == ["ended"]
    with pytest.raises(ConnectionClosed, match="was shut down"):
        await broker.start()


async def test_it_can_be_shut_down(path):
    broker = Broker(path)
    async with hindered(path, "file"):
        with pytest.raises(PathRefused):
            await broker.start()
    assert await broker.shutdown() == 0
    with pytest.raises(ConnectionClosed, match="was shut down"):
        await broker.start()
    assert not Path(path).exists()


@pytest.mark.parametrize("meanwhile", [False, True], ids=["afterwards", "while it starts"])
async def test_a_listener_that_was_given_goes_with_it(path, meanwhile):
    """Whoever connects is refused, and does not wait for a broker that will not come."""
    broker = given(path)
    async with hindered(path, "descriptors"):
        starting = asyncio.create_task(broker.start())
        ending = asyncio.create_task(broker.shutdown()) if meanwhile else None
        with pytest.raises(TransportError):
            await starting
    await (ending or broker.shutdown())
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
        client.connect(path)
