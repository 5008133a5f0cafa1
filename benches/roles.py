"""What one process of a run does. Every role takes its options from the runner and returns what it measured."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benches.figures import percentiles
from benches.link import ECHO_TOPIC, END, TOPIC, WARM, Link, Reception, clock
from benches.pace import Pace

Options = dict[str, Any]
_BETWEEN_WARM = 0.02
_PIECE = 256


def say(**what: Any) -> None:
    """One line to the runner."""
    print(json.dumps(what), flush=True)


async def order() -> Options:
    """The runner's next line."""
    line = await asyncio.to_thread(sys.stdin.readline)
    if not line:
        raise SystemExit(0)
    return dict(json.loads(line))


async def _warm_up(link: Link) -> Options:
    """Publishes warm-up messages until the runner has heard from every subscriber."""
    going = asyncio.ensure_future(order())
    while not going.done():
        await link.publish(WARM)
        await link.flush()
        await asyncio.wait([going], timeout=_BETWEEN_WARM)
    return going.result()


async def publish(link: Link, options: Options) -> Options:
    """Flat out for `seconds` and at least `least` messages, then the end marker; on `connections` in turn."""
    links = _links(link, options)
    for each in links:
        await each.open(options.get("topic", TOPIC))
    say(said="ready")
    asked = await _warm_up(link)
    begin = clock()
    if len(links) == 1:
        count = await link.flood(begin + asked["seconds"], asked["least"])
    else:
        count = await _flood_in_turn(links, begin + asked["seconds"], asked["least"])
    accepted = clock()
    for each in links:
        await each.publish(END)
        await each.flush()
    return {"published": count, "seconds": accepted - begin, "rate": count / (accepted - begin)}


async def _flood_in_turn(links: list[Link], deadline: float, least: int) -> int:
    count = 0
    for each in itertools.cycle(links):
        if clock() >= deadline and count >= least:
            return count
        await each.flood_piece(count, count + _PIECE)
        count += _PIECE
    return count


async def subscribe(link: Link, options: Options) -> Options:
    """Receives until the end marker of each of `publishers`; on `connections` at once."""
    links = _links(link, options)
    warm = itertools.count(1)

    def warmed() -> None:
        if next(warm) == len(links):
            say(said="warm")

    receptions = [Reception(publishers=options.get("publishers", 1), warm=warmed) for _ in links]
    for each in links:
        await each.open(ECHO_TOPIC)
        await each.subscribe(options.get("topic", TOPIC))
    say(said="ready")
    await asyncio.gather(*(each.drain(one) for each, one in zip(links, receptions, strict=True)))
    return {
        "received": sum(one.received for one in receptions),
        "disorder": sum(one.disorder for one in receptions),
        "first": min(one.first for one in receptions),
        "last": max(one.last for one in receptions),
        "rate": min(one.rate for one in receptions),
    }


def _links(link: Link, options: Options) -> list[Link]:
    more = range(options.get("connections", 1) - 1)
    return [link, *(type(link)(link.address, link.variant, options) for _ in more)]


async def echo(link: Link, options: Options) -> Options:
    """Sends back what comes, until the end marker."""
    del options
    await link.open(ECHO_TOPIC)
    await link.subscribe(TOPIC)
    say(said="ready")
    await link.echo()
    return {}


async def ping(link: Link, options: Options) -> Options:
    """Round trips, one in flight."""
    await link.open(TOPIC)
    await link.subscribe(ECHO_TOPIC)
    say(said="ready")
    asked = await order()
    now, publish, receive = time.perf_counter_ns, link.publish, link.receive
    took = []
    for number in range(asked["warm_up"] + asked["samples"]):
        begin = now()
        await publish(number)
        answer = await receive()
        took.append(now() - begin)
        if answer != number:
            raise RuntimeError(f"sent {number}, {answer} came back")
    await link.publish(END)
    await link.flush()
    del options
    return percentiles(took[asked["warm_up"] :])


async def pace(link: Link, options: Options) -> Options:
    """Publishes at a fixed rate, message n when n / rate seconds have passed, however late the one before was."""
    await link.open(options.get("topic", TOPIC))
    say(said="ready")
    asked = await _warm_up(link)
    ticks = Pace(asked["rate"], asked["begin"])
    total, sent, late = round(asked["rate"] * asked["seconds"]), 0, 0
    async with ticks:
        while sent < total:
            due = min(total, await ticks.due(blocking=link.blocking))
            late = max(late, due - sent)
            for number in range(sent, due):
                await link.publish(number)
            sent = due
    await link.publish(END)
    await link.flush()
    return {"published": sent, "most_at_once": late}


async def listen(link: Link, options: Options) -> Options:
    """Receives what `pace` publishes; latency counts from when a message was due."""
    await link.open(ECHO_TOPIC)
    await link.subscribe(options.get("topic", TOPIC))
    say(said="ready")
    now = time.perf_counter_ns
    arrived: list[tuple[int, int]] = []
    warmed = False

    def take(number: int) -> bool:
        nonlocal warmed
        if number == WARM:
            if not warmed:
                warmed = True
                say(said="warm")
        elif number != END:
            arrived.append((now(), number))
        return number == END

    await link.each(take)
    asked = await order()
    begin, interval = int(asked["begin"] * 1e9), 1e9 / asked["rate"]
    took = [at - begin - int(number * interval) for at, number in arrived]
    disorder = sum(number != expected for expected, (_, number) in enumerate(arrived))
    return {"received": len(took), "disorder": disorder, **percentiles(took)}


async def idle(link: Link, options: Options) -> Options:
    """Holds connections that say nothing."""
    for number, each in enumerate(_links(link, options)):
        await each.open(ECHO_TOPIC)
        if options.get("subscribed", True):
            await each.subscribe(f"events.process.idle-{number}")
    say(said="ready")
    await order()
    return {}


async def hold(link: Link, options: Options) -> Options:
    """Holds many subscriptions, spread over `connections`."""
    links = _links(link, options)
    for each in links:
        await each.open(ECHO_TOPIC)
    say(said="ready")
    asked = await order()
    for number in range(asked["subscriptions"]):
        await links[number % len(links)].subscribe(f"events.p{number % 997}.s{number}")
    return {}


async def local(link: Link, options: Options) -> Options:
    """Publisher and subscriber in this process, and the broker between them if there is one."""
    del options
    await link.alone(TOPIC)
    say(said="ready")
    asked = await order()
    reception = Reception()
    draining = asyncio.create_task(link.drain(reception))
    begin = clock()
    count = await link.flood(begin + asked["seconds"], 0)
    await link.publish(END)
    await draining
    return {"received": reception.received, "disorder": reception.disorder, "rate": reception.rate, "published": count}


ROLES: dict[str, Callable[[Link, Options], Awaitable[Options]]] = {
    role.__name__: role for role in (publish, subscribe, echo, ping, pace, listen, idle, hold, local)
}
