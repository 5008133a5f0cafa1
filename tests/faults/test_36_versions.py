"""Fault 36. Peers of another time."""

import asyncio
import json
import socket
import threading

import pytest

from daemoneye_eventbus import ClientConfig, EventBus, EventBusError
from raw import CONTROL, Message, framed

pytestmark = [
    pytest.mark.fault(
        36,
        "H",
        "unknown message kind, protocol version 255, old client/new broker and the reverse",
        '"unsupported version" then cut; never misparse',
    ),
    pytest.mark.quick,
    pytest.mark.limit(60),
]


def test_versions_at_the_broker(bench, seen):
    b = bench()
    for number in (0, 2, 255, 1 << 40):
        peer = b.dial()
        peer.say("CONNECT", protocol=number, client="x", dialect="bincode")
        said = peer.closed()
        assert said["code"] in {"unsupported_version", "protocol"}, said
        if number < 1 << 32:
            assert (said["code"], said["highest"]) == ("unsupported_version", 1), said
    newer = b.dial()
    newer.say("CONNECT", protocol=255, min_protocol=1, client="x", dialect="bincode", of_the_future={"a": [1]})
    assert newer.expect("INFO")["protocol"] == 1
    newer.say("FUTURE", x=1)
    assert newer.expect("ERR")["code"] == "unknown_verb"
    newer.barrier()
    for first in (0x00, 0x0F, 0x11, 0x7F, 0x80, 0xFF):
        peer = b.connected()
        peer.send(bytes([first]) + b"\0" * 20)
        assert peer.closed()["code"] == "protocol"
    peer = b.connected()
    peer.send(Message("control.collector.config", b"\xff" * 50, type=CONTROL).encode())
    peer.barrier()
    seen(f"255 refused, highest 1 named; {b.undisturbed()}")


@pytest.mark.parametrize(
    "answer", [b'ERR {"code":"unsupported_version","highest":9}', b'INFO {"protocol":9}', b"\x05\1\2\3"]
)
def test_a_client_and_a_broker_of_another_time(path, seen, answer):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    asked = []

    def serve():
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                asked.append(peer.recv(65536))
                peer.sendall(framed(answer))

    threading.Thread(target=serve, daemon=True).start()

    async def main():
        await EventBus.connect(path, config=ClientConfig(pool=False, connect_timeout=1.0))

    with pytest.raises(EventBusError) as caught:
        asyncio.run(main())
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    hello = json.loads(asked[0][4:].partition(b" ")[2])
    assert hello["protocol"] == 1
    seen(f"client says {type(caught.value).__name__}")
