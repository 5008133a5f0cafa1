"""A broker in a process of its own that answers in JSON: host.py PATH [CONFIG] [OPTIONS].

OPTIONS: limits (RLIMIT name -> soft limit, set before the start), sigpipe (restore the default action),
log (level, to stderr), group (a control group to join before the start), senders (note who published). Commands on stdin: {"do": statistics | clients | disconnect | subscribe |
shutdown | block | senders}.
"""

import asyncio
import json
import logging
import os
import resource
import signal
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path

from daemoneye_eventbus import Broker, BrokerConfig, EventBus, PermissionRefused

path, config, options = sys.argv[1], *(json.loads(word) for word in (*sys.argv[2:4], *["{}"] * (4 - len(sys.argv))))


def say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


def do(broker: Broker, command: dict) -> None:
    match command["do"]:
        case "statistics":
            say(**asdict(broker.statistics()), reachable=broker.reachable)
        case "clients":
            say(clients=[asdict(client) for client in broker.clients()])
        case "disconnect":
            say(done=broker.disconnect_client(command["id"]))
        case "subscribe":
            try:
                say(done=broker.subscribe_client(command["id"], command["patterns"]))
            except PermissionRefused as error:
                say(raised=type(error).__name__, uid=error.uid)
        case "senders":
            say(senders=senders)
        case "block":
            time.sleep(command["seconds"])
            say(done=True)
        case other:
            say(unknown=other)


senders: list[list[object]] = []
"""Topic, claimed correlation, and uid, pid and client id by the broker's word."""


async def note_senders(events) -> None:
    async for received in events:
        sender = received.sender
        claimed = received.correlation_metadata.correlation_id
        senders.append([received.topic, claimed, sender.uid, sender.pid, str(sender.client_id)])


async def cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def main() -> None:
    loop = asyncio.get_running_loop()
    terminated = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, terminated.set)
    commands: asyncio.Queue[str] = asyncio.Queue()
    pipe = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(pipe), sys.stdin)

    async def listen() -> None:
        while line := await pipe.readline():
            commands.put_nowait(line.decode())
        terminated.set()

    if "token" in config:
        config["token"] = config["token"].encode()
    if "rules" in config:
        from daemoneye_eventbus import Rule

        config["rules"] = [Rule(**rule) for rule in config["rules"]]
    if "rate_limit" in config:
        from daemoneye_eventbus import RateLimit

        config["rate_limit"] = RateLimit(**config["rate_limit"])
    async with Broker(path, config=BrokerConfig(**config)) as broker, AsyncExitStack() as stack:
        if options.get("senders"):
            bus = await stack.enter_async_context(EventBus.from_broker(broker))
            events = await stack.enter_async_context(bus.subscribe("events.#", "control.#", include_control=True))
            stack.push_async_callback(cancelled, asyncio.create_task(note_senders(events)))
        say(ready=True)
        tasks = {asyncio.create_task(listen()), end := asyncio.create_task(terminated.wait())}
        while not terminated.is_set():
            take = asyncio.create_task(commands.get())
            await asyncio.wait({take, end}, return_when=asyncio.FIRST_COMPLETED)
            if not take.done():
                take.cancel()
                break
            command = json.loads(take.result())
            if command["do"] == "shutdown":
                begin = time.monotonic()
                undelivered = await broker.shutdown(command.get("timeout", 2.0))
                say(
                    took=time.monotonic() - begin,
                    undelivered=repr(undelivered),
                    dropped=dict(broker.statistics().dropped),
                )
            else:
                do(broker, command)
        for task in tasks:
            task.cancel()


if "group" in options:
    (Path(options["group"]) / "cgroup.procs").write_text(str(os.getpid()))
for name, value in options.get("limits", {}).items():
    which = getattr(resource, name)
    resource.setrlimit(which, (value, resource.getrlimit(which)[1]))
if options.get("sigpipe"):
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
logging.basicConfig(level=options.get("log", "WARNING"), format="log %(name)s %(levelname)s %(message)s")
asyncio.run(main())
