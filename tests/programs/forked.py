"""A live broker and bus, then fork: what every method says in the child, one line of JSON each.

forked.py PATH MODE. MODE: methods (the child calls everything), sleep (the child just lives on).
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
import warnings

from daemoneye_eventbus import Broker, EventBus, ForkedProcess, ProcessEvent

warnings.simplefilter("ignore", DeprecationWarning)
path, mode = sys.argv[1:]


def say(fields):
    """One write, so that lines of parent and child cannot mix."""
    os.write(1, json.dumps(fields).encode() + b"\n")


def verdict(call, *, is_async):
    begin = time.monotonic()
    try:
        result = call()
        if is_async:
            result = asyncio.run(_bounded(result))
        said = f"returned {result!r}"
    except ForkedProcess as error:
        said = "ForkedProcess" + ("" if str(os.getpid()) in str(error) else " without the pid")
    except BaseException as error:
        said = repr(error)
    return said, time.monotonic() - begin


async def _bounded(made):
    return await asyncio.wait_for(made, 3)


def child(broker, buses):
    event = ProcessEvent(pid=1, name="sh")
    calls = {}
    for name, (bus, events) in buses.items():
        calls |= {
            f"{name} publish": (lambda b=bus: b.publish(event), True),
            f"{name} publish_nowait": (lambda b=bus: b.publish_nowait(event), False),
            f"{name} publish_many": (lambda b=bus: b.publish_many([event]), True),
            f"{name} publish_control": (lambda b=bus: b.publish_control("control.x", b""), True),
            f"{name} subscribe": (lambda b=bus: b.subscribe("events.#"), True),
            f"{name} unsubscribe": (lambda b=bus, e=events: b.unsubscribe(e.subscriber_id), True),
            f"{name} flush": (lambda b=bus: b.flush(), True),
            f"{name} statistics": (lambda b=bus: b.statistics(), True),
            f"{name} broker_statistics": (lambda b=bus: b.broker_statistics(), True),
            f"{name} local_statistics": (lambda b=bus: b.local_statistics(), False),
            f"{name} clients": (lambda b=bus: b.clients(), True),
            f"{name} state_changes": (lambda b=bus: b.state_changes(), False),
            f"{name} drain": (lambda b=bus: b.drain(), True),
            f"{name} get": (lambda e=events: e.get(), True),
            f"{name} get_nowait": (lambda e=events: e.get_nowait(), False),
            f"{name} get_many": (lambda e=events: e.get_many(3), True),
            f"{name} anext": (lambda e=events: e.__anext__(), True),
            f"{name} close": (lambda e=events: e.close(), True),
            f"{name} shutdown": (lambda b=bus: b.shutdown(), True),
        }
    calls |= {
        "from_broker": (lambda: EventBus.from_broker(broker), True),
        "broker clients": (broker.clients, False),
        "broker statistics": (broker.statistics, False),
        "broker start": (broker.start, True),
        "broker subscribe_client": (lambda: broker.subscribe_client("0" * 32, []), False),
        "broker disconnect_client": (lambda: broker.disconnect_client("0" * 32), False),
        "broker observe_end": (lambda: broker.observe_end(print), False),
        "broker shutdown": (broker.shutdown, True),
    }
    for name, (call, is_async) in calls.items():
        said, took = verdict(call, is_async=is_async)
        say({"call": name, "said": said, "took": took})


def kept():
    """Descriptors of the bus in this process: listener and both ends of connections, the lock."""
    found = []
    for fd in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{fd}")
            if target.startswith(os.path.dirname(path)):
                found.append(target)
            if target.startswith("socket:"):
                with socket.socket(fileno=os.dup(fd)) as probe:
                    for name in (probe.getsockname, probe.getpeername):
                        with contextlib.suppress(OSError):
                            if name() == path:
                                found.append(name.__name__)
    return found


def entry():
    loop = asyncio.new_event_loop()
    objects = None

    async def start():
        nonlocal objects
        broker = Broker(path)
        await broker.start()
        buses = {}
        for name in ("remote", "local", "closed remote", "closed local"):
            bus = await (EventBus.connect(path) if "remote" in name else EventBus.from_broker(broker))
            buses[name] = bus, await bus.subscribe("events.#")
            if name.startswith("closed"):
                await buses[name][1].close()
                await bus.shutdown()
        objects = broker, buses

    loop.run_until_complete(start())
    assert len(kept()) >= 4, kept()
    pid = os.fork()
    if pid == 0:
        asyncio.set_event_loop(None)
        if mode == "sleep":
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            say({"sleeping": os.getpid(), "kept": kept()})
            time.sleep(60)
        else:
            child(*objects)
        # Not by return: asyncio's own loop would unregister the parent's descriptors.
        os._exit(0)
    say({"child": pid})

    async def rest():
        broker, buses = objects
        (remote, far), (local, near) = buses["remote"], buses["local"]
        if mode == "sleep":
            await asyncio.sleep(60)
        status = (await asyncio.to_thread(os.waitpid, pid, 0))[1]
        for number in range(100):
            await remote.publish(ProcessEvent(pid=number, name="sh"))
        got = [(await far.get(timeout=5)).event.pid for _ in range(100)]
        assert got == list(range(100)), got
        assert [(await near.get(timeout=5)).event.pid for _ in range(100)] == got
        say({"parent": "fine", "status": status})
        for bus in (remote, local):
            await bus.shutdown()
        await broker.shutdown()

    loop.run_until_complete(rest())
    loop.close()


entry()
