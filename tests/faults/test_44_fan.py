"""Fault 44. Fan out and fan in, and the books."""

import pytest
from harness import TIMES, scaled, times, until

pytestmark = [
    pytest.mark.fault(
        44, "H", "1 to 50 at 1,000/s; 50 to 1 at 200/s each", "order kept per sender and subscriber; counters balance"
    ),
    pytest.mark.limit(180),
]
RAW_READERS = times(scaled(20, 50))


def test_one_to_many(bench, seen):
    b = bench({"ping_interval": 600.0, "ping_timeout": 1200.0}, canary=False)
    peers = [b.connected(client=f"r{n}") for n in range(RAW_READERS)]
    for peer in peers:
        peer.subscribe(1, "events.performance.flood")
    # Nobody reads before the end, so that all queues together hold the same, however many there are.
    total = int(scaled(1500, 10_000) / max(1, TIMES))
    flood = b.flood(rate=1000, count=total)
    assert flood.json(60 * max(1, int(TIMES)))["published"] == total
    for peer in peers:
        got = peer.barrier()
        assert [m.sequence for m in got] == sorted(m.sequence for m in got)
        assert len(got) == total
    now = until(lambda: (s := b.statistics())["queued_messages"] == 0 and s, what="queues empty")
    assert now["messages_published"] == total
    assert now["messages_delivered"] + sum(now["dropped"].values()) == total * len(peers)
    seen(f"1 to {len(peers)}: {total * len(peers)} deliveries in order, books balance")


def test_many_to_one(bench, seen):
    """Fifty connections, interleaved by hand; the reader sees each one's order."""
    from raw import process_message

    b = bench()
    reader = b.connected()
    reader.subscribe(1, "events.process.#")
    many = times(50)
    senders = [b.connected(client=f"s{n}") for n in range(many)]
    each = scaled(50, 1000)
    got: dict[str, list[int]] = {}
    for start in range(0, each, 50):
        for number in range(start, start + 50):
            for index, sender in enumerate(senders):
                sender.send(process_message(number, f"events.process.s{index}", number))
        for sender in senders:
            sender.barrier()
        for message in reader.barrier():
            got.setdefault(message.topic, []).append(message.sequence)
    assert len(got) == many
    assert all(numbers == list(range(each)) for numbers in got.values())
    seen(f"{many} to 1: {many * each} in order per sender; {b.undisturbed()}")
