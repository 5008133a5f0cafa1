"""Fault 32. Maps with more than anybody needs."""

import asyncio
import time

import pytest

from daemoneye_eventbus import (
    ClientConfig,
    CorrelationFilter,
    EventBus,
    EventFilter,
    FrameTooLarge,
    ProcessEvent,
    SubscriptionRefused,
)

pytestmark = [
    pytest.mark.fault(
        32,
        "M",
        "50,000 tags or keys, duplicates, 1 MiB key",
        "count/size limit named in the error; under 10 ms",
    ),
    pytest.mark.quick,
    pytest.mark.limit(60),
]
SOLO = ClientConfig(pool=False)


def test_too_many_are_refused_by_name(bench, path, seen):
    b = bench()

    async def main():
        said = []
        async with EventBus.connect(path, config=SOLO) as bus:
            many = {f"key-{number:05}": "v" for number in range(50_000)}
            large = ProcessEvent(pid=1, name="x", metadata={"k" * (1 << 20): "v"})
            # What this thread computes: neither is sent anywhere, and other programs are no fault of theirs.
            begin = time.thread_time()
            with pytest.raises(ValueError, match=r"metadata.*50000.*4096"):
                ProcessEvent(pid=1, name="x", metadata=many)
            said.append(time.thread_time() - begin)
            begin = time.thread_time()
            with pytest.raises(FrameTooLarge, match="1048576"):
                await bus.publish(large)
            said.append(time.thread_time() - begin)
            assert max(said) < 0.1, said
            for count, limit in ((300, 256), (50_000, 65_536)):  # terms of a filter, bytes of a control text
                with pytest.raises(SubscriptionRefused, match=str(limit)) as caught:
                    await bus.subscribe("events.#", event_filter=EventFilter(pids=list(range(count))))
                assert caught.value.limit == limit
            # A map of more entries than any reader takes cannot even be written.
            for refused in (
                {"event_filter": EventFilter(metadata_filters=many)},
                {"correlation_filter": CorrelationFilter(required_tags=many)},
                {"correlation_filter": CorrelationFilter(any_tags=many)},
            ):
                with pytest.raises(SubscriptionRefused, match=r"50000 entries.*4096") as caught:
                    await asyncio.wait_for(bus.subscribe("events.#", **refused), 10)
                assert caught.value.limit == 4096
            assert bus.local_statistics()["reconnects"] == 0
            await bus.flush()
        return max(said)

    worst = asyncio.run(main())
    peer = b.connected()
    peer.sub(1, "events.#", event_filter={"pids": list(range(5000))})
    said = peer.expect("ERR")
    assert "256" in said["message"], said
    seen(f"refused in {worst * 1000:.1f} ms, limits named; {b.undisturbed()}")


def test_duplicate_keys_are_one_verdict(bench):
    """A map with a key twice, as no sender of ours writes it: delivered to all readers alike or refused, never a crash."""
    from raw import Message, text, varint

    b = bench(canary=False)
    reader, writer = b.connected(), b.connected(dialect="bincode")
    other = b.connected(dialect="postcard")
    reader.subscribe(1, "events.#")
    other.subscribe(1, "events.#")
    twice = b"\0\1" + text("sh") + b"\0\0\0\0" + varint(2) + (text("k") + text("v")) * 2
    writer.send(Message("events.process.new", twice).encode())
    _answers(writer)
    got = _answers(reader), _answers(other)
    assert got in ((0, 0), (1, 1)), got


def _answers(peer) -> int:
    """How many messages are there, or 0 and the end of the connection."""
    peer.say("PING")
    count = 0
    while (body := peer.receive()) is not None and body != b"PONG":
        count += body[0] == 0x10
    return count
