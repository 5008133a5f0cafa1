"""Three processes, as in real use: a broker, a collector of this machine's processes, and a live view of what it sees.

daemoneye-eventbus demo [--seconds N] [--interval S]

Runs until Ctrl-C, or for N seconds. Everything lives in a temporary directory that only this user can enter.
"""

from __future__ import annotations

import _thread
import argparse
import asyncio
import contextlib
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from pathlib import Path

from daemoneye_eventbus import ClientConfig, EventBus, EventBusError, ProcessEvent
from daemoneye_eventbus._demo import live_view

BROKER = "daemoneye_eventbus"
COLLECTOR = "daemoneye_eventbus._demo.process_collector"
AS_CHILD = "--as-child"
STOP_SECONDS = 5.0


@contextlib.contextmanager
def running(module: str, *arguments: str) -> Generator[subprocess.Popen[bytes], None, None]:
    """A module as a child process, stopped at the end whatever happens."""
    child = subprocess.Popen(
        [sys.executable, "-m", "daemoneye_eventbus._demo.demo", AS_CHILD, module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        # Ctrl-C goes to the terminal's foreground group; outside it, they stop in our order: collector, then broker.
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()


def be_child(module: str, *arguments: str) -> None:
    """Runs a module; ends it when the demo is gone, even if that was killed and could not say so."""

    def watch_parent() -> None:
        os.read(sys.stdin.fileno(), 1)
        # A demo that could say so has said so; a second word would meet a loop that is being closed.
        time.sleep(1)
        main_thread = threading.main_thread().ident
        if sys.platform == "win32":
            # No signal comes from outside there; this is what Ctrl-C does, and wakes the loop as that does.
            _thread.interrupt_main()
        elif main_thread is not None:
            signal.pthread_kill(main_thread, signal.SIGTERM)

    threading.Thread(target=watch_parent, daemon=True).start()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


async def demo(path: str, interval: float, seconds: float | None) -> str | None:
    """Shows events until time is up; gives the reason if a process ended early."""
    with running(BROKER, "broker", path) as broker:
        config = ClientConfig(client="demo", connect_timeout=20)
        # The collector begins with what runs already: subscribed first, the view sees all of it.
        async with EventBus.connect(path, config=config) as bus, bus.subscribe(ProcessEvent) as events:
            with running(COLLECTOR, path, "--interval", str(interval)) as collector:
                print(f"broker pid {broker.pid}, collector pid {collector.pid}, socket {path}; Ctrl-C ends", flush=True)
                view = asyncio.create_task(live_view.show(events))
                loop = asyncio.get_running_loop()
                ends = loop.time() + (seconds or float("inf"))
                try:
                    while not view.done() and (left := ends - loop.time()) > 0:
                        await asyncio.wait([view], timeout=min(left, 0.5))
                        for name, child in (("broker", broker), ("collector", collector)):
                            if child.poll() is not None:
                                return f"the {name} ended by itself, with exit code {child.returncode}"
                finally:
                    view.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await view
    return None


def stop(_number: int, _frame: object) -> None:
    """Interrupts once; whatever comes while everything is being closed already is no news."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.raise_signal(signal.SIGINT)


def run(seconds: float | None, interval: float) -> str | None:
    """Runs it; gives the reason if it could not go on. Raises ``KeyboardInterrupt`` when it is told to stop."""
    # asyncio turns an interrupt into a cancellation, which stops the children; so shall a kill and a closed terminal.
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), stop)
    with tempfile.TemporaryDirectory(prefix="daemoneye-demo-") as directory:
        path = Path(directory) / "bus.sock"
        # Pipes have names and no places; this one is as random as the directory's.
        where = rf"\\.\pipe\{path.parent.name}" if sys.platform == "win32" else str(path)
        return asyncio.run(demo(where, interval, seconds))


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a script started this with &
    if sys.argv[1:2] == [AS_CHILD]:
        be_child(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, help="end after this many seconds (default: run until Ctrl-C)")
    parser.add_argument("--interval", type=float, default=0.5, help="seconds between two scans (default: 0.5)")
    arguments = parser.parse_args()
    failure: str | None = None
    try:
        with contextlib.suppress(KeyboardInterrupt):
            failure = run(arguments.seconds, arguments.interval)
    except BrokenPipeError:
        live_view.quiet_stdout()
    except EventBusError as error:
        failure = str(error)
    if failure:
        sys.exit(f"demo: {failure}")


if __name__ == "__main__":
    main()
