"""Fault 41. One client publishes as if it were alone."""

import pytest
from harness import MIB, scaled, times

pytestmark = [
    pytest.mark.fault(
        41,
        "H",
        "one client publishes 100 k/s for 60 s",
        "others' 1 k/s undisturbed (per-client budget); limiter counter; table of limiter keys bounded",
    ),
    pytest.mark.limit(180),
]


@pytest.mark.parametrize("congestion", ["drop", "block"])
def test_what_is_above_the_rate_is_refused_or_waits(bench, seen, congestion):
    rate, seconds = 2000, scaled(3, 10, 60)
    b = bench({"rate_limit": {"per": "client", "messages_per_second": rate, "burst": 0.5}})
    reader = b.reader()
    modest = b.flood(sender="modest", rate=500, seconds=seconds)
    greedy = b.flood(sender="greedy", seconds=seconds, config={"congestion": congestion, "publish_timeout": 30})
    done, other = greedy.json(seconds + 120), modest.json(seconds + 60)
    refused = b.refused("rate_limit")
    calm = b.undisturbed(latency=False)
    got = reader.ask(expect=other["published"] + done["published"] - refused, within=5, timeout=60)
    passed = got["received"] + got["dropped"] - other["published"]
    assert other["errors"] == {}
    assert got["in_order"]
    if congestion == "drop":
        assert refused > 0
        assert passed + refused == done["published"], (passed, refused, done)
        assert passed <= rate * (done["took"] + 2), (passed, done)
    else:
        assert refused == 0
        assert passed == done["published"], (passed, done)
    seen(f"{congestion}: {done['published']} tried, {passed} passed, {refused} refused; {calm}")


def test_limits_of_many_that_came_and_went_are_forgotten(bench, seen):
    from raw import process_message

    b = bench({"rate_limit": {"per": "client", "messages_per_second": 1000}})
    rounds = times(scaled(500, 5000))
    sizes = []
    for number in range(2 * rounds):
        peer = b.connected()
        peer.send(process_message(number))
        peer.barrier()
        peer.close()
        b.raws.clear()
        if number == rounds:
            sizes.append(b.reading().rss)
    grown = (b.reading().rss - sizes[0]) / MIB
    assert grown < 2, grown
    seen(f"{2 * rounds} clients with a budget each: {grown:+.1f} MiB over the second half; {b.undisturbed()}")
