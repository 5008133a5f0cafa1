"""Fault 67, beyond the catalogue. A defect of the bus itself: a panic on the loop's thread, on that of the clients, on the broker's.

Nothing in what is shipped can be made to panic from outside, so the system does it: a library that is loaded before it refuses one
reading of the clock, once, and only to the extension. The standard library makes a panic of that, wherever the bus looks at the time:
in the middle of a publish, in a callback of the loop, with a queue locked, in the handshake, in the runtime underneath.
"""

import shutil
import subprocess

import pytest
from harness import PROGRAMS, scaled

pytestmark = [
    pytest.mark.fault(
        67,
        "H",
        "beyond the catalogue: a panic in the extension, at each place that reads the clock: on the loop's thread, in its "
        "callbacks, on the clients' thread, on the broker's, in a connection and in the runtime",
        "an exception or a lost connection; nothing hangs, all others are served, the books balance, and the next one works; "
        "a broker whose runtime broke ends, tells everybody, and leaves its path free",
    ),
    pytest.mark.quick,
    pytest.mark.limit(600),
]
REFUSED = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
/* Refuses one reading of the clock: the one after `skip` others of the extension on a thread whose name begins so; "" is the first.
   Each of the others takes `slow` microseconds, so that whoever wants what the thread holds meanwhile comes to wait for it. */
static char thread[16];
static int left = -1, fired, slow;
static int (*real)(clockid_t, struct timespec *);
void plant(const char *name, int skip, int pause) {
    strncpy(thread, name, 15);
    fired = 0;
    slow = pause;
    __atomic_store_n(&left, skip, __ATOMIC_SEQ_CST);
}
int planted(void) {
    __atomic_store_n(&left, -1, __ATOMIC_SEQ_CST);
    return fired;
}
static int is_meant(void *caller) {
    Dl_info found;
    char name[16] = "";
    if (!dladdr(caller, &found) || !strstr(found.dli_fname, "_native")) return 0;
    if (!thread[0]) return syscall(SYS_gettid) == getpid();
    prctl(PR_GET_NAME, name);
    return strncmp(name, thread, strlen(thread)) == 0;
}
int clock_gettime(clockid_t which, struct timespec *now) {
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    if (__atomic_load_n(&left, __ATOMIC_SEQ_CST) >= 0 && is_meant(__builtin_return_address(0))) {
        if (__atomic_fetch_sub(&left, 1, __ATOMIC_SEQ_CST) == 0) {
            fired = 1;
            errno = EPERM;
            return -1;
        }
        if (slow) usleep(slow);
    }
    return real(which, now);
}
"""
READINGS = {
    "loop": (0, 80, scaled(7, 3, 1), 0),
    "daemoneye-clien": (0, 80, scaled(3, 1, 1), 300),
    "daemoneye-broke": (0, scaled(60, 150, 600), scaled(8, 5, 1), 0),
}
"""Of the thread, whose name the kernel cuts to 15 bytes: from, to, step, and microseconds that each takes."""
WHOLE = [11, 0]
"""Events that came, and those that the bus cannot answer for."""
NOTHING = {"newcomer served"}


@pytest.fixture
def refused(folder):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler to refuse the clock to one library")
    (folder / "refused.c").write_text(REFUSED)
    library = str(folder / "refused.so")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, str(folder / "refused.c"), "-ldl"], check=True)
    return library


@pytest.mark.parametrize("thread", READINGS)
def test_a_panic_is_an_error_and_no_more(path, program, refused, seen, thread):
    env = {"LD_PRELOAD": refused, "RUST_BACKTRACE": "1"}
    child = program(str(PROGRAMS / "panicking.py"), path, thread, *map(str, READINGS[thread]), env=env)
    started = child.json(60)
    rounds = []
    while (said := child.json(60)) is not None:
        rounds.append(said)
    child.finish(stderr=None)
    panicked = [said for said in rounds if said["fired"]]
    assert panicked
    if thread == "daemoneye-broke":
        assert "ConnectionClosed" in started
        assert set(started) <= {"ConnectionClosed", "started"}
    if thread == "daemoneye-clien":
        # A runtime that broke keeps nothing open; what one more thread and connection take may come and go.
        assert rounds[-1]["descriptors"] <= rounds[0]["descriptors"] + 6, [said["descriptors"] for said in rounds]
    for said in rounds:
        afterwards_all_is_well(said)
        if not said["fired"]:
            assert whole(said), said
        elif thread == "daemoneye-broke":
            on_the_brokers(said)
        else:
            on_a_hosts(said, thread)
    ended = sum(said["ended"] for said in panicked)
    silent = sum(whole(said) for said in panicked)
    seen(f"{thread}: {len(panicked)} panics, {silent} without a trace, {ended} ended the broker; each time all went on")


def whole(said):
    return set(said["out"]) == NOTHING and not said["told"] and list(said["came"].values()) == [WHOLE, WHOLE]


def afterwards_all_is_well(said):
    out, came = said["again"]
    assert (set(out), came) == (NOTHING, {"inside": WHOLE, "outside": WHOLE}), said


def raised(said):
    """The kinds of what came out of the two buses, or in callbacks."""
    return {text.split()[-1] for text in said["out"] if not text.startswith("newcomer")} | set(said["told"])


def on_a_hosts(said, thread):
    """The broker has nothing to do with it."""
    assert not said["ended"], said
    assert said["served"] == ["reader", "writer"], said
    assert "newcomer served" in said["out"], said
    balanced(said)
    assert said["now"]["refused"].get("panic", 0) == 0, said
    if thread == "loop":
        # The wait is for an event whose publish failed.
        assert raised(said) <= {"PanicException", "TimeoutError"}, said
        assert sum("PanicException" in text for text in said["out"] + said["told"]) <= 1, said
        return
    assert said["came"]["inside"] == WHOLE, said
    assert raised(said) <= {"ConnectionLost", "ConnectionClosed"}, said


def on_the_brokers(said):
    frames = "\n".join(said["frames"])
    assert "daemoneye_eventbus_core::broker::server::run" in frames, "the panic's own words"
    beside_all = "broker::held_back" in frames or "broker::spin" in frames
    if beside_all and "broker::session" not in frames:
        # It looks after what an event loop holds back, or whether to sleep, and is begun again; no connection is concerned.
        assert whole(said), said
        return
    of_ours = "broker::session" in frames or "server::Server" in frames
    assert not (of_ours and said["ended"]), said
    before, now = said["before"], said["now"]
    if said["ended"]:
        assert raised(said) <= {"ConnectionLost", "ConnectionClosed", "SubscriptionClosed", "TimeoutError"}, said
        assert (now["queued_messages"], now["queued_bytes"], said["told_end"]) == (0, 0, True), said
        return
    assert now["refused"].get("panic", 0) - before["refused"].get("panic", 0) == 1, said
    assert said["came"]["inside"] == WHOLE, said
    # One connection ended: of the witnesses, of the bus that then dials again, or of the newcomer.
    assert len(said["served"]) >= 1, said
    outside = said["came"]["outside"]
    if len(said["served"]) == 1 or "newcomer served" not in said["out"]:
        assert outside == WHOLE, said
    elif outside is not None:
        assert sum(outside) >= WHOLE[0], said
    assert raised(said) <= {"ConnectionLost", "TimeoutError"}, said
    if said["served"] == ["reader", "writer"]:
        balanced(said)


def balanced(said):
    """Each event is matched once by the witness and once by whoever published it."""
    before, now = said["before"], said["now"]
    published = now["messages_published"] - before["messages_published"]
    handed = now["messages_delivered"] - before["messages_delivered"]
    lost = sum(now["dropped"].values()) - sum(before["dropped"].values())
    assert said["witnessed"] == published, said
    assert (now["queued_messages"], now["queued_bytes"], now["unfinished_bytes"]) == (0, 0, 0), said
    if list(said["came"].values()) == [WHOLE, WHOLE]:
        assert handed + lost == 2 * published == 4 * WHOLE[0], said
    assert published <= handed + lost <= 2 * published, said
    assert now["active_subscribers"] == 1, said
