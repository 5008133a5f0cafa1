"""Fault 58. The host's loop is blocked, the GIL is held, callbacks misbehave."""

import json
import time

import pytest
from harness import PROGRAMS, Reading, scaled

pytestmark = [
    pytest.mark.fault(
        58,
        "H",
        "loop blocked 5 s by sleep, then by code holding the GIL; tasks that raise, close themselves, publish re-entrantly; "
        "code of the host that raises wherever the bus calls it",
        "in-process broker still serves others; threads base + 8 at most; what was raised comes out, nothing is wedged",
    ),
    pytest.mark.limit(120),
]
MISBEHAVING = """
import asyncio, json, sys
from daemoneye_eventbus import Broker, EventBus, ProcessEvent
async def main(path):
    async with Broker(path) as broker, EventBus.from_broker(broker) as bus:
        said = {}
        async with bus.subscribe("events.process.*") as events:
            async def raises():
                async for _ in events:
                    raise LookupError("of the host")
            async def exits():
                async for _ in events:
                    raise asyncio.CancelledError
            async def republishes():
                async for one in events:
                    if one.event.pid < 100:
                        await bus.publish(ProcessEvent(pid=one.event.pid + 1, name="again"))
                    else:
                        return one.event.pid
            for make in (raises, exits, republishes):
                task = asyncio.create_task(make())
                await bus.publish(ProcessEvent(pid=1, name="x"))
                said[make.__name__] = repr((await asyncio.gather(task, return_exceptions=True))[0])
        closing = await bus.subscribe("events.process.*")
        async def closes():
            async for _ in closing:
                await closing.close()
            return "ended"
        task = asyncio.create_task(closes())
        await bus.publish(ProcessEvent(pid=1, name="x"))
        said["closes"] = await asyncio.wait_for(task, 5)
        print(json.dumps(said), flush=True)
asyncio.run(main(sys.argv[1]))
"""
HOLD = """
import asyncio, ctypes, json, sys, time
from daemoneye_eventbus import Broker
async def main(path):
    async with Broker(path):
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            command = json.loads(line)
            if command["how"] == "sleep":
                time.sleep(command["seconds"])
            else:
                # PyDLL keeps the GIL while the call lasts.
                ctypes.PyDLL(None).usleep(int(command["seconds"] * 1e6))
            print("held", flush=True)
asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize("how", ["sleep", "gil"])
def test_the_broker_serves_while_its_host_is_blocked(folder, path, seen, how, program, raw):
    (folder / "hold.py").write_text(HOLD)
    host = program(str(folder / "hold.py"), path)
    assert host.line() == "ready"
    base = Reading.of(host.pid).threads
    reader, writer = raw(path), raw(path)
    for peer in (reader, writer):
        peer.connect()
    reader.subscribe(1, "events.#")
    seconds = scaled(1.5, 5)
    host.child.stdin.write(json.dumps({"how": how, "seconds": seconds}).encode() + b"\n")
    host.child.stdin.flush()
    time.sleep(0.2)
    from raw import process_message

    begin, times = time.monotonic(), []
    while time.monotonic() - begin < seconds - 0.6:
        sent = time.monotonic()
        writer.send(process_message(len(times)))
        reader.message()
        times.append(time.monotonic() - sent)
        newcomer = raw(path)
        newcomer.connect()
        newcomer.close()
        time.sleep(0.005)
    assert host.line() == "held"
    assert Reading.of(host.pid).threads <= base + 8
    host.finish()
    middle = sorted(times)[len(times) // 2] * 1000
    assert middle < 50, middle
    seen(f"{how} for {seconds:g} s: {len(times)} events through meanwhile, p50 {middle:.2f} ms")


def test_misbehaving_tasks_wedge_nothing(folder, path, seen, program):
    (folder / "misbehaving.py").write_text(MISBEHAVING)
    child = program(str(folder / "misbehaving.py"), path, flags=("-W", "error"))
    said = child.json()
    child.finish(stderr=None)
    assert said["raises"] == "LookupError('of the host')"
    assert "CancelledError" in said["exits"]
    assert (said["republishes"], said["closes"]) == ("100", "ended")
    seen(f"tasks: {sorted(said)} all ended as they should")


COMES_OUT = {
    "iterator": " after 2",
    "iterable": " after 0",
    "pattern text": "",
    "pattern anything": "",
    "max Index": "",
    "timeout Awkward": "",
    "metadata BadMap": "",
    "metadata BadDict": "",
    "time BadZone": "",
    "equal": "",
    "filter list": "",
}
"""Where the bus has to ask the host's code: what that raises comes out, and how many events were taken before it."""


@pytest.mark.quick
@pytest.mark.parametrize("kind", ["error", "abrupt"])
def test_code_of_the_host_that_raises_wherever_it_is_called(path, seen, program, kind):
    child = program(str(PROGRAMS / "misbehaving.py"), path, kind)
    answer = child.json(60)
    child.finish(stderr=None)
    for word in ("panicked", "PanicException", "Fatal"):
        assert word not in child.stderr(), child.stderr()
    said, raised = answer["said"], {"error": "LookupError", "abrupt": "Abrupt"}[kind]
    assert len(said) == 80, len(said)
    for way in ("inside", "outside"):
        for what, behind in COMES_OUT.items():
            assert said[f"{way} {what}"] == raised + behind, (way, what, said)
        # Subclasses are taken for what they are, without asking them; a reader does not learn of it.
        for what in ("correlation text", "name text", "pid BadNumber", "metadata ChangingMap", "metadata dict"):
            assert said[f"{way} {what}"] == "gave NoneType", (way, what, said)
        assert said[f"{way} destructor"] == "ResourceWarning"
    others = {text for text in said.values() if raised not in text and not text.startswith("gave")}
    known = {"TypeError", "TypeError after 0", "ValueError", "TopicError", "TimeoutError", "ResourceWarning"}
    assert others <= known | {"taken", "nothing came out"}, others
    assert set(answer["told"]) == {f"{raised}('planted')"}, answer["told"]
    assert answer["refused"].get("panic", 0) == 0
    seen(
        f"{kind}: raised in {len(said)} places, {sum(raised in text for text in said.values())} came out; each time it went on"
    )
