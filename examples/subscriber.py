"""Prints one line per event, and one where events were lost.

python subscriber.py /run/daemoneye/bus.sock 'events.process.*'
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys

from daemoneye_eventbus import (
    BusEvent,
    ClientConfig,
    CollectionEvent,
    EventBus,
    EventBusError,
    FilesystemEvent,
    NetworkEvent,
    PerformanceEvent,
    ProcessEvent,
    TriggerRequest,
)


def visible(text: str) -> str:
    """Names come from strangers: what would move the cursor, or hide, is shown as its escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def summary(event: CollectionEvent) -> str:
    match event:
        case ProcessEvent(pid=pid, name=name, command_line=command):
            return f"pid={pid} name={name} user={event.metadata.get('user', '?')} command={command or '-'}"
        case NetworkEvent(source_address=source, destination_address=destination, protocol=protocol):
            return f"{protocol} {source} -> {destination}"
        case FilesystemEvent(path=path, event_type=kind):
            return f"{kind} {path}"
        case PerformanceEvent(metric_name=metric, value=value, unit=unit):
            return f"{metric}={value}{unit}"
        case TriggerRequest(request_id=request, collector_type=collector, priority=priority):
            return f"request={request} collector={collector} priority={priority}"


def time(received: BusEvent[CollectionEvent]) -> str:
    try:
        return received.bus_timestamp.isoformat()
    except OverflowError:
        # What a stranger wrote can lie beyond every calendar, and must not end this program.
        return f"{received.bus_timestamp_ns}ns"


def line(received: BusEvent[CollectionEvent]) -> str:
    return visible(f"{time(received)} {received.topic} {summary(received.event)}")


async def listen(path: str | None, instance: str | None, patterns: list[str]) -> None:
    config = ClientConfig(client="subscriber")
    async with EventBus.connect(path, instance=instance, config=config) as bus, bus.subscribe(*patterns) as events:
        print(f"subscribed to {', '.join(patterns)}", file=sys.stderr, flush=True)
        async for received in events:
            if received.dropped_before:
                print(f"... {received.dropped_before} events lost here", flush=True)
            print(line(received), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", help="socket of the broker (default: $DAEMONEYE_BROKER_SOCKET)")
    parser.add_argument("patterns", nargs="*", help="topics or patterns (default: events.#)")
    parser.add_argument("--instance", help="name of a broker's well-known address instead of a path")
    arguments = parser.parse_args()
    path, patterns = arguments.path, arguments.patterns
    # Where the broker is known already, the first one is a pattern too; none of those has a slash.
    is_known = arguments.instance is not None or ("DAEMONEYE_BROKER_SOCKET" in os.environ and "/" not in (path or ""))
    if is_known and path is not None:
        path, patterns = None, [path, *patterns]
    # asyncio turns an interrupt into a cancellation, which closes what is open; a plain kill shall do the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a script started this with &
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(listen(path, arguments.instance, patterns or ["events.#"]))
    except (EventBusError, ValueError) as error:
        sys.exit(f"subscriber: {error}")
    except OSError as error:
        # The reader of a pipe has seen enough, or the disk is full; nothing of ours is left to be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            sys.exit(f"subscriber: {error}")


if __name__ == "__main__":
    main()
