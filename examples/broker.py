"""A broker in a process of its own: runs until it is told to stop, then says what went through it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys

from daemoneye_eventbus import Broker, EventBusError


async def serve(path: str | None, instance: str | None) -> None:
    async with Broker(path, instance=instance) as broker:
        print(f"broker: listening on {broker.path}", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            statistics = broker.statistics()
            print(
                f"broker: {statistics.messages_published} published, {statistics.messages_delivered} delivered",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("path", nargs="?", help="socket path to listen on")
    where.add_argument("--instance", help="name of a well-known address instead, /tmp/daemoneye-INSTANCE.sock")
    arguments = parser.parse_args()
    # asyncio turns an interrupt into a cancellation, which closes what is open; a plain kill shall do the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a script started this with &
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(arguments.path, arguments.instance))
    except (EventBusError, ValueError) as error:
        sys.exit(f"broker: {error}")
    except OSError as error:
        # A full disk, or nobody reads; nothing of ours is left to be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(f"broker: {error}")


if __name__ == "__main__":
    main()
