"""Code of the host that raises wherever the bus calls it: misbehaving.py PATH KIND, with KIND: error or abrupt (no Exception).

After each attempt a round trip has to work, in the process and over the socket. Prints what each attempt came to.
"""

import asyncio
import contextlib
import functools
import gc
import json
import logging
import operator
import sys
import warnings
from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo

from daemoneye_eventbus import Broker, ClientConfig, EventBus, EventBusError, EventFilter, ProcessEvent


class Abrupt(BaseException):
    """What neither an `except Exception` nor an event loop takes."""


EVENT = ProcessEvent(1, "sh")
ALONE = ClientConfig(pool=False)
PLANTED = {"error": LookupError, "abrupt": Abrupt}[sys.argv[2]]


def planted(*_args, **_options):
    raise PLANTED("planted")


class BadText(str):
    __slots__ = ()
    __hash__ = __eq__ = __str__ = __repr__ = encode = __len__ = __format__ = planted


class BadNumber(int):
    __index__ = __int__ = __eq__ = __hash__ = __lt__ = __bool__ = planted


class Index:
    __index__ = __int__ = planted


class BadMap(Mapping):
    __getitem__ = __iter__ = __len__ = items = keys = planted


class ChangingMap(dict):
    """Its iteration changes it."""

    def items(self):
        for key in list(self):
            yield key, self.pop(key)
            self[key + "x"] = "y"


class BadDict(dict):
    items = keys = values = __iter__ = __len__ = planted


class BadList(list):
    __iter__ = __len__ = __getitem__ = __contains__ = planted


class BadZone(tzinfo):
    utcoffset = dst = tzname = planted


class OddZone(tzinfo):
    def utcoffset(self, _moment):
        return timedelta(hours=99)


class Equal:
    __eq__ = __hash__ = planted


class Awkward:
    """Whose every attribute raises."""

    __getattribute__ = planted


class Handler(logging.Handler):
    def emit(self, _record):
        planted()


def several(then):
    yield ProcessEvent(1, "sh")
    yield ProcessEvent(2, "sh")
    then()
    yield ProcessEvent(3, "sh")


class Attempts:
    """One way to the broker, and what each attempt on it came to."""

    def __init__(self, way, path, broker, said):
        self.way, self.path, self.broker, self.said = way, path, broker, said
        self.serial = 1000

    async def run(self):
        inside = self.way == "inside"
        self.bus = await (EventBus.from_broker(self.broker) if inside else EventBus.connect(self.path, config=ALONE))
        self.events = await self.bus.subscribe("events.process.*")
        for part in (self.iterators, self.texts, self.numbers, self.values, self.loop, self.log, self.destructor):
            await part()
        await self.events.close()
        await self.bus.shutdown()

    async def works(self):
        self.serial += 1
        await self.bus.publish(ProcessEvent(self.serial, "sh"))
        while (await self.events.get(timeout=5)).event.pid != self.serial:
            pass

    async def attempt(self, name, work):
        try:
            result = work()
            if asyncio.iscoroutine(result):
                result = await result
            said = f"gave {type(result).__name__}"
        except BaseException as error:
            accepted = getattr(error, "accepted", None)
            said = type(error).__name__ + ("" if accepted is None else f" after {accepted}")
        self.said[f"{self.way} {name}"] = said
        await self.works()

    async def iterators(self):
        bus = self.bus
        await self.attempt("iterator", lambda: bus.publish_many(several(planted)))
        await self.attempt("iterable", lambda: bus.publish_many(BadList([EVENT])))
        await self.attempt("iterator publishes", lambda: bus.publish_many(several(lambda: bus.publish_nowait(EVENT))))
        await self.attempt("iterator of anything", lambda: bus.publish_many([Awkward()]))

    async def texts(self):
        bus = self.bus
        for what, bad in [("text", BadText("x")), ("anything", Awkward())]:
            await self.attempt(f"topic {what}", lambda bad=bad: bus.publish(EVENT, topic=bad))
            await self.attempt(f"correlation {what}", lambda bad=bad: bus.publish(EVENT, bad))
            await self.attempt(f"publish {what}", lambda bad=bad: bus.publish(bad))
            await self.attempt(f"pattern {what}", lambda bad=bad: bus.subscribe(bad))
            await self.attempt(f"name {what}", lambda bad=bad: bus.publish(ProcessEvent(1, bad)))
            await self.attempt(f"filter {what}", lambda bad=bad: EventFilter(topic_patterns=[bad]))

    async def numbers(self):
        bus, events = self.bus, self.events
        for bad in (BadNumber(1), Index(), Awkward()):
            what = type(bad).__name__
            await self.attempt(f"pid {what}", lambda bad=bad: bus.publish(ProcessEvent(bad, "sh")))
            await self.attempt(f"max {what}", lambda bad=bad: events.get_many(bad, timeout=0.1))
            await self.attempt(f"timeout {what}", lambda bad=bad: events.get(timeout=bad))

    async def values(self):
        for bad in (BadMap(), BadDict(a="b"), ChangingMap(a="b", c="d"), {"a": BadText("b")}):
            made = functools.partial(ProcessEvent, 1, "sh", metadata=bad)
            await self.attempt(f"metadata {type(bad).__name__}", lambda made=made: self.bus.publish(made()))
        for zone in (BadZone(), OddZone()):
            made = functools.partial(ProcessEvent, 1, "sh", start_time=datetime(2026, 1, 1, tzinfo=zone))
            await self.attempt(f"time {type(zone).__name__}", lambda made=made: self.bus.publish(made()))
        await self.attempt("equal", lambda: operator.eq(EVENT, Equal()))
        await self.attempt("filter list", lambda: EventFilter(event_types=BadList(["process"])))

    async def loop(self):
        """Functions of the loop that are not what they were."""
        loop = asyncio.get_running_loop()
        for name in ("call_soon", "call_soon_threadsafe", "call_later", "call_at", "create_future"):
            setattr(loop, name, planted)
            try:
                for _ in range(3):
                    self.bus.publish_nowait(EVENT)
                self.said[f"{self.way} {name}"] = "taken"
            except BaseException as error:
                self.said[f"{self.way} {name}"] = type(error).__name__
            finally:
                delattr(loop, name)
            await self.works()

    async def log(self):
        """A handler that raises is nobody's business but the host's."""
        handler, logger = Handler(), logging.getLogger("daemoneye_eventbus")
        other = await EventBus.connect(self.path, config=ClientConfig(pool=False, client="other"))
        logger.addHandler(handler)
        try:
            for client in self.broker.clients():
                if client.name == "other":
                    self.broker.disconnect_client(client.id)
            for _ in range(10):
                await asyncio.sleep(0.01)
            self.said[f"{self.way} log"] = "nothing came out"
        finally:
            logger.removeHandler(handler)
        with contextlib.suppress(EventBusError):
            await other.shutdown()
        await self.works()

    async def destructor(self):
        """A warning that is an error."""
        unraisable, before = [], sys.unraisablehook
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            sys.unraisablehook = lambda what: unraisable.append(type(what.exc_value).__name__)
            await self.bus.subscribe("events.network.*")
            gc.collect()
            sys.unraisablehook = before
        self.said[f"{self.way} destructor"] = ",".join(unraisable) or "none"
        await self.works()


async def main(path):
    said, told = {}, []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(repr(context.get("exception"))))
    async with Broker(path) as broker:
        for way in ("inside", "outside"):
            await Attempts(way, path, broker, said).run()
        refused = dict(broker.statistics().refused)
    print(json.dumps({"said": said, "told": told, "refused": refused}), flush=True)


with asyncio.Runner() as runner:
    loop = runner.get_loop()
    task = loop.create_task(main(sys.argv[1]))
    while not task.done():
        try:
            # What is no Exception ends the loop's run where a callback raises it; the task goes on in the next one.
            loop.run_until_complete(task)
        except PLANTED:
            continue
    task.result()
