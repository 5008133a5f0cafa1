"""Fault 48. Time that jumps, and a client that sleeps."""

import ctypes.util
import os
import shutil
import subprocess
import time

import pytest
from harness import scaled, until

pytestmark = [
    pytest.mark.fault(
        48,
        "M",
        "wall clock moved +/- 1 day (faketime); client SIGSTOPped 60 s",
        "deadlines, rate limits, health unchanged; stamps only; no reconnect storm",
    ),
    pytest.mark.limit(180),
]
JUMPER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
/* The wall clock of this process, moved by as many seconds as the file in JUMP has bytes, in days; other clocks as they are. */
static int (*real)(clockid_t, struct timespec *);
int clock_gettime(clockid_t which, struct timespec *now) {
    struct stat file;
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int said = real(which, now);
    if (which == CLOCK_REALTIME && stat(getenv("JUMP"), &file) == 0)
        now->tv_sec += (file.st_mode & 0100 ? -86400 : 86400) * (file.st_size != 0);
    return said;
}
"""


def test_the_wall_clock_jumps(bench, folder, seen):
    compiler = shutil.which("cc")
    if compiler is None or ctypes.util.find_library("c") is None:
        pytest.skip("needs a C compiler to move the clock of one process")
    (folder / "jumper.c").write_text(JUMPER)
    library, jump = str(folder / "jumper.so"), folder / "jump"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, str(folder / "jumper.c"), "-ldl"], check=True)
    jump.write_text("")
    b = bench(
        {"ping_interval": 0.5, "ping_timeout": 2.0, "frame_timeout": 2.0, "original_peers": False},
        env={"LD_PRELOAD": library, "JUMP": str(jump)},
    )
    reader = b.reader()
    for mode in (0o600, 0o700):  # forward, then back
        jump.write_text("jumped")
        os.chmod(jump, mode)
        silent = b.dial(timeout=10)
        begin = time.monotonic()
        silent.closed()
        took = time.monotonic() - begin
        assert 1.5 < took < 4, took
        slow = b.connected()
        slow.write(b"\x40\0")
        begin = time.monotonic()
        assert slow.closed()["code"] == "frame_timeout"
        assert 1.5 < time.monotonic() - begin < 4
        b.flood(count=10).json()
        jump.write_text("")
        os.chmod(jump, 0o600)
    assert reader.ask(expect=20)["received"] == 20
    assert b.refused("ping_timeout") == 0
    assert b.statistics()["uptime_seconds"] < 120
    seen(f"a day on and back: deadlines as before, nobody cut; {b.undisturbed()}")


def test_a_client_that_slept(bench, seen):
    """A suspended client is given up after ping_timeout, comes back once, and knows it."""
    b = bench({"ping_interval": 0.5, "ping_timeout": 1.5})
    sleeper = b.reader()
    sleeper.freeze()
    time.sleep(scaled(3, 10, 60))
    assert b.refused("ping_timeout") == 1
    sleeper.thaw()
    until(lambda: b.statistics()["active_subscribers"] == 2, 8, "subscribed again")
    b.flood(count=10).json()
    got = sleeper.ask(expect=10)
    assert (got["received"], got["gaps"]) == (10, 1), got
    seen(f"slept: cut once, back once; {b.undisturbed()}")
