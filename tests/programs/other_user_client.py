"""A client of another user, told what to do by lines of JSON: other_user_client.py PATH [CONFIG].

publish TOPIC [COUNT]: says how many the broker has refused since.   subscribe PATTERN: says ok, or what was raised.
connect COUNT: opens so many more connections, one after the other, and says how many were let in.
hold COUNT: the same, and keeps them open until it has tried all.
"""

import asyncio
import contextlib
import json
import socket
import struct
import sys

from daemoneye_eventbus import ClientConfig, EventBus, EventBusError, ProcessEvent


def say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


def is_let_in(sock: socket.socket, path: str) -> bool:
    """Whether the broker answers a connection with anything but a refusal."""
    body = b'CONNECT {"protocol":1,"client":"member","dialect":"bincode"}'
    sock.settimeout(5)
    sock.connect(path)
    with contextlib.suppress(OSError):
        sock.sendall(struct.pack("<I", len(body)) + body)
    return b"INFO" in sock.recv(65536)


def knock(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return is_let_in(sock, path)


def hold(path: str, count: int) -> int:
    with contextlib.ExitStack() as stack:
        return sum(is_let_in(stack.enter_context(socket.socket(socket.AF_UNIX)), path) for _ in range(count))


async def main(path: str, config: dict) -> None:
    if "token" in config:
        config["token"] = config["token"].encode()
    async with EventBus.connect(path, config=ClientConfig(pool=False, **config)) as bus:
        say(ready=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            command = json.loads(line)
            try:
                match command["do"]:
                    case "publish":
                        before = bus.local_statistics()["refused"]
                        topic = command["topic"]
                        for number in range(command.get("count", 1)):
                            if topic.startswith("control."):
                                await bus.publish_control(topic, b"x")
                            else:
                                await bus.publish(ProcessEvent(pid=number, name="sh"), topic=topic)
                        await bus.flush(timeout=60)
                        say(refused=bus.local_statistics()["refused"] - before)
                    case "subscribe":
                        async with bus.subscribe(command["pattern"]):
                            say(ok=True)
                    case "connect":
                        say(connected=sum(knock(path) for _ in range(command["count"])))
                    case "hold":
                        say(connected=hold(path, command["count"]))
            except EventBusError as error:
                say(raised=type(error).__name__, uid=getattr(error, "uid", None), message=str(error))


asyncio.run(main(sys.argv[1], json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}))
