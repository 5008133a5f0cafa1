"""A system that refuses writes to a client that is there: the connection ends, so that the client dials again."""

import errno
import platform
import sys

import pytest

from raw import process_message

pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="written for the system calls of Linux on x86_64",
)


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM, errno.EACCES], ids=errno.errorcode.get)
def test_a_client_that_cannot_be_written_to_is_let_go(path, program, raw, number):
    broker = program("refused_writes.py", path, str(number))
    broker.json()
    reader = raw(path)
    reader.connect()
    reader.subscribe(1, "events.#")
    assert broker.ask(do="refuse") == {"refused": True}
    publisher = raw(path)
    publisher.connect()
    publisher.send(process_message(1))
    publisher.barrier()
    # Left open it would wait for what is lost to it, and never dial again.
    assert reader.closed() is None
    publisher.barrier()
    assert broker.ask(do="statistics") == {"dropped": {"disconnected": 1}, "refused": {"write_failed": 1}}
    broker.finish(stderr=None)
