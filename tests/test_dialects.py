"""Dialects on connections: each side speaks its own, and the broker translates."""

import asyncio

import pytest

import daemoneye_eventbus as bus
from raw import framed

EVENT = bus.ProcessEvent(
    70_000,
    "größe",
    command_line="x" * 300,
    ppid=200,
    start_time=bus.Timestamp.from_ns(1_767_916_800_123_456_789),
    metadata={"user": "root"},
)


@pytest.mark.parametrize("publisher", ["bincode", "postcard"])
@pytest.mark.parametrize("subscriber", ["bincode", "postcard"])
def test_what_one_dialect_publishes_the_other_receives(folder, publisher, subscriber):
    async def main():
        path = str(folder / "bus.sock")
        speaks = {name: bus.ClientConfig(dialect=name) for name in (publisher, subscriber)}
        async with (
            bus.Broker(path) as broker,
            bus.EventBus.connect(path, config=speaks[subscriber]) as there,
            bus.EventBus.connect(path, config=speaks[publisher]) as here,
            there.subscribe("events.#") as events,
        ):
            assert {client.dialect for client in broker.clients()} == {publisher, subscriber}
            correlation = bus.CorrelationMetadata("c-1").create_child("c-2").with_stage("s").with_tag("k", "v" * 200)
            for number in range(300):
                await here.publish(bus.ProcessEvent(number, "sh"), f"c-{number}")
            await here.publish(EVENT, correlation)
            for number in range(300):
                received = await events.get(timeout=5)
                assert (received.event.pid, received.correlation_id) == (number, f"c-{number}")
            received = await events.get(timeout=5)
            assert received.event == EVENT
            assert received.correlation_metadata == correlation
            assert events.dropped == 0

    asyncio.run(main())


def test_the_first_generation_is_refused_on_a_connection(folder):
    async def main():
        path = str(folder / "bus.sock")
        async with bus.Broker(path):
            for name in ("bincode-v0", "xml"):
                reader, writer = await asyncio.open_unix_connection(path)
                connect = b'CONNECT {"protocol":1,"client":"c","dialect":"%s"}' % name.encode()
                writer.write(framed(connect))
                answer = await asyncio.wait_for(reader.read(), 5)
                assert answer[4:].startswith(b"ERR {")
                assert b'"unsupported_dialect"' in answer
                assert b"this broker speaks bincode, postcard" in answer
                writer.close()

    asyncio.run(main())


def test_a_broker_of_its_own_dialect_serves_both(folder):
    async def main():
        path = str(folder / "bus.sock")
        async with (
            bus.Broker(path, config=bus.BrokerConfig(dialect="postcard", original_dialect="bincode")) as broker,
            bus.EventBus.from_broker(broker) as inside,
            bus.EventBus.connect(path) as outside,
            inside.subscribe("events.#") as near,
            outside.subscribe("events.#") as far,
        ):
            await inside.publish(EVENT, "from inside")
            await outside.publish(EVENT, "from outside")
            for events in (near, far):
                received = [await events.get(timeout=5) for _ in range(2)]
                assert {each.correlation_id for each in received} == {"from inside", "from outside"}
                assert all(each.event == EVENT for each in received)

    asyncio.run(main())
