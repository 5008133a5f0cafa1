"""Fault 59. Several loops, one after the other and at once."""

import pytest
from harness import scaled, times

pytestmark = [
    pytest.mark.fault(
        59,
        "H",
        "two asyncio.run in a row, two loops in two threads, loop closed under a pending recv, 8 threads publish and close",
        'no "Event loop is closed" leak, clear wrong-loop error, no deadlock (faulthandler 60 s)',
    ),
    pytest.mark.limit(120),
]
LOOPS = """
import asyncio, faulthandler, gc, sys, threading
from daemoneye_eventbus import Broker, ClientConfig, EventBus, EventBusError, ProcessEvent, WouldBlock, WrongLoop
faulthandler.dump_traceback_later(60, exit=True)
path, rounds = sys.argv[1], int(sys.argv[2])
async def once():
    async with EventBus.connect(path) as bus, bus.subscribe("events.process.*") as events:
        await bus.publish(ProcessEvent(pid=1, name="x"))
        return (await events.get(timeout=5)).event.pid
async def leak():
    bus = await EventBus.connect(path)
    events = await bus.subscribe("events.process.*")
    task = asyncio.create_task(events.get())
    await asyncio.sleep(0.01)
    return bus, events
async def host():
    async with Broker(path):
        def elsewhere():
            for _ in range(rounds):
                assert asyncio.run(once()) == 1
            threads = [threading.Thread(target=lambda: asyncio.run(once())) for _ in range(2)]
            for t in threads: t.start()
            for t in threads: t.join()
            loop = asyncio.new_event_loop()
            left = loop.run_until_complete(leak())
            for task in asyncio.all_tasks(loop): task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
            async def wrong():
                try:
                    await left[1].get(timeout=1)
                except (WrongLoop, EventBusError) as error:
                    return type(error).__name__
            said = asyncio.run(wrong())
            del left
            gc.collect()
            return said
        said = await asyncio.to_thread(elsewhere)
        bus = await EventBus.connect(path, config=ClientConfig(pool=False))
        ended = []
        def publish():
            try:
                while True:
                    try:
                        bus.publish_nowait(ProcessEvent(pid=1, name="x"))
                    except WouldBlock:
                        pass
            except EventBusError as error:
                ended.append(type(error).__name__)
        threads = [threading.Thread(target=publish) for _ in range(8)]
        for t in threads: t.start()
        await asyncio.sleep(0.3)
        await bus.shutdown()
        for t in threads: await asyncio.to_thread(t.join, 10)
        print(said, sorted(set(ended)), len(ended), flush=True)
asyncio.run(host())
"""


def test_loops(folder, path, seen, program):
    (folder / "loops.py").write_text(LOOPS)
    child = program(str(folder / "loops.py"), path, str(times(scaled(5, 50))))
    said = child.line(90)
    stderr = child.finish(timeout=20, stderr=None)
    assert "Event loop is closed" not in stderr
    assert "Traceback" not in stderr, stderr
    assert said == "WrongLoop ['ConnectionClosed'] 8", said
    seen(said)
