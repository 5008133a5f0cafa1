"""Fault 57. Objects that are forgotten."""

import pytest
from harness import scaled, times, until

pytestmark = [
    pytest.mark.fault(
        57,
        "H",
        "subscription deleted without close, in a cycle, 10^5 times; bus closed while iterated",
        "broker count falls within 1 s; ResourceWarning; iteration ends cleanly",
    ),
    pytest.mark.limit(300),
]
FORGETFUL = """
import asyncio, gc, json, sys, time, warnings
from daemoneye_eventbus import ClientConfig, EventBus
warned = 0
def note(message, category, *rest, **more):
    global warned
    warned += category is ResourceWarning
async def main(path, rounds):
    warnings.simplefilter("always")
    warnings.showwarning = note
    bus = await EventBus.connect(path, config=ClientConfig(pool=False))
    for number in range(rounds):
        events = await bus.subscribe(f"events.forgotten.x{number % 50}")
        if number % 2:
            cycle = [events]
            cycle.append(cycle)
            del cycle
        del events
        if number % 200 == 0:
            gc.collect()
            await asyncio.sleep(0)
    gc.collect()
    print(json.dumps({"warned": warned}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    events = await bus.subscribe("events.#")
    async def iterate():
        async for _ in events:
            pass
        return "ended"
    task = asyncio.create_task(iterate())
    await asyncio.sleep(0.05)
    await bus.shutdown()
    print(json.dumps({"iteration": await asyncio.wait_for(task, 5)}), flush=True)
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def test_forgotten_subscriptions_are_ended(bench, folder, seen):
    b = bench()
    rounds = times(scaled(2000, 10_000, 100_000))
    (folder / "forgetful.py").write_text(FORGETFUL)
    child = b.start(str(folder / "forgetful.py"), b.path, str(rounds))
    warned = child.json(240)["warned"]
    until(lambda: b.statistics()["active_subscribers"] == 1, 1.0, "subscriptions ended")
    child.tell(go=True)
    assert child.json() == {"iteration": "ended"}
    child.finish(stderr=None)
    assert warned >= rounds * 0.99, warned
    seen(f"{rounds} forgotten, {warned} ResourceWarnings, none left at the broker; {b.undisturbed()}")
