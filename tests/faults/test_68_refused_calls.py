"""Fault 68, beyond the catalogue. A sandbox that refuses system calls: each of those that broker and bus need, one at a time.

The filter is the kernel's own (seccomp), set by the host when its event loop runs: for everything that the bus does from then on, or,
since it binds the thread that sets it and those that it starts, for the host's own thread alone once broker and bus run.
"""

import platform
import sys

import pytest
from harness import PROGRAMS, scaled

pytestmark = [
    pytest.mark.fault(
        68,
        "M",
        "beyond the catalogue: a sandbox (seccomp) that answers one system call of broker, bus or loop with EPERM or ENOSYS, from "
        "the start or later",
        "works, or an error that says what could not be done; no panic, no wait beyond its timeout, no socket file of a "
        "broker that did not start",
    ),
    pytest.mark.quick,
    pytest.mark.limit(300),
]
CALLS = {
    "fstat": 5, "poll": 7, "mprotect": 10, "ioctl": 16, "writev": 20, "madvise": 28, "dup": 32, "socket": 41, "connect": 42,
    "recvfrom": 45, "sendmsg": 46, "recvmsg": 47, "shutdown": 48, "bind": 49, "listen": 50, "getsockname": 51, "getpeername": 52,
    "socketpair": 53, "setsockopt": 54, "getsockopt": 55, "fcntl": 72, "flock": 73, "fchmod": 91, "geteuid": 107, "prctl": 157,
    "epoll_ctl": 233, "unlinkat": 263, "accept4": 288, "eventfd2": 290, "epoll_create1": 291, "prlimit64": 302, "getrandom": 318,
    "statx": 332, "clone3": 435,
}  # fmt: skip
"""Of x86_64. Without `sendto` no event loop can be woken from another thread, ours or another's."""
QUICK = ("listen", "socketpair", "epoll_ctl", "accept4", "getsockopt", "clone3")
EPERM, ENOSYS = 1, 38


@pytest.mark.parametrize("when", ["start", "later"])
@pytest.mark.parametrize("call", scaled(QUICK, CALLS))
def test_a_call_that_is_refused(folder, program, seen, call, when):
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("written for the system calls of Linux on x86_64")
    for number in (EPERM, ENOSYS):
        place = folder / f"{number}"
        place.mkdir(mode=0o700)
        child = program(str(PROGRAMS / "sandboxed.py"), str(place / "b.sock"), str(CALLS[call]), str(number), when)
        said = child.json(60)
        child.finish(stderr=None)
        assert "panicked" not in child.stderr(), child.stderr()
        assert "hangs" not in said.values(), said
        errors = {what: text for what, text in said.items() if what not in ("left", "received")}
        for what, text in errors.items():
            kind, _, message = text.partition(": ")
            # Of the loop itself; else it says what could not be done.
            assert kind in {"PermissionError", "OSError"} or len(message) > 20, (what, text)
        assert said.get("received") == 50 or errors, said
        assert said["left"] == [] or call == "unlinkat", said
        if errors and number == EPERM:
            seen(f"{call} {when}: {next(iter(errors.values()))[:60]}")
