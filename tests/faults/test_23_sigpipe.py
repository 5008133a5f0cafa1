"""Fault 23. A host program that wants SIGPIPE to kill it."""

import pytest
from harness import scaled, times

pytestmark = [
    pytest.mark.fault(23, "H", "host restores default SIGPIPE; peer closes during delivery", "survives"),
    pytest.mark.quick,
    pytest.mark.limit(60),
]


def test_the_broker_survives_a_reader_that_closes(bench, seen):
    b = bench(options={"sigpipe": True})
    flood = b.flood(rate=5000, topic="events.process.x")
    rounds = times(scaled(100, 1000))
    for _ in range(rounds):
        peer = b.connected()
        peer.subscribe(1, "events.#")
        peer.message()
        peer.close()
        b.raws.clear()
    flood.kill()
    b.back_to_base()
    seen(f"{rounds} readers closed during delivery; {b.undisturbed()}")


def test_a_client_survives_a_broker_that_dies(bench, seen, folder, program):
    b = bench(canary=False)
    (folder / "client.py").write_text("""
import asyncio, signal, sys
from daemoneye_eventbus import EventBus, ProcessEvent, EventBusError, ClientConfig
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
async def main(path):
    config = ClientConfig(pool=False, reconnect=False)
    bus = await EventBus.connect(path, config=config)
    print("ready", flush=True)
    try:
        while True:
            await bus.publish(ProcessEvent(pid=1, name="x", command_line="y" * 5000))
    except EventBusError as error:
        print(type(error).__name__, flush=True)
    await bus.shutdown()
asyncio.run(main(sys.argv[1]))
""")
    client = program(str(folder / "client.py"), b.path)
    assert client.line() == "ready"
    b.broker.kill()
    assert client.line() == "ConnectionLost"
    client.finish(stderr=None)
    b.restart()
    seen("client: ConnectionLost")
