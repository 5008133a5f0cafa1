"""Code of the host that raises wherever the bus calls it: misbehaving.py PATH KIND, with KIND: error or abrupt (no Exception).

After each attempt a round trip has to work, in the process and over the socket. Prints what each attempt came to.
"""

import asyncio
import contextlib
import gc
import json
import logging
import sys
import warnings
from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo

from daemoneye_eventbus import Broker, ClientConfig, EventBus, EventBusError, EventFilter, ProcessEvent


class Abrupt(BaseException):
    """What neither an `except Exception` nor an event loop takes."""


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


async def main(path):
    said, serial = {}, 1000
    loop = asyncio.get_running_loop()
    told = []
    loop.set_exception_handler(lambda _loop, context: told.append(repr(context.get("exception"))))
    async with Broker(path) as broker:
        for way in ("inside", "outside"):
            quiet = ClientConfig(pool=False)
            bus = await (EventBus.from_broker(broker) if way == "inside" else EventBus.connect(path, config=quiet))
            events = await bus.subscribe("events.process.*")

            async def works():
                nonlocal serial
                serial += 1
                await bus.publish(ProcessEvent(serial, "sh"))
                while (await events.get(timeout=5)).event.pid != serial:
                    pass

            async def attempt(name, work):
                try:
                    result = work()
                    if asyncio.iscoroutine(result):
                        result = await result
                    said[f"{way} {name}"] = f"gave {type(result).__name__}"
                except BaseException as error:
                    accepted = getattr(error, "accepted", None)
                    said[f"{way} {name}"] = type(error).__name__ + ("" if accepted is None else f" after {accepted}")
                await works()

            event = ProcessEvent(1, "sh")
            await attempt("iterator", lambda: bus.publish_many(several(planted)))
            await attempt("iterable", lambda: bus.publish_many(BadList([event])))
            await attempt("iterator publishes", lambda: bus.publish_many(several(lambda: bus.publish_nowait(event))))
            await attempt("iterator of anything", lambda: bus.publish_many([Awkward()]))
            for what, bad in [("text", BadText("x")), ("anything", Awkward())]:
                await attempt(f"topic {what}", lambda bad=bad: bus.publish(event, topic=bad))
                await attempt(f"correlation {what}", lambda bad=bad: bus.publish(event, bad))
                await attempt(f"publish {what}", lambda bad=bad: bus.publish(bad))
                await attempt(f"pattern {what}", lambda bad=bad: bus.subscribe(bad))
                await attempt(f"name {what}", lambda bad=bad: bus.publish(ProcessEvent(1, bad)))
                await attempt(f"filter {what}", lambda bad=bad: EventFilter(topic_patterns=[bad]))
            for bad in (BadNumber(1), Index(), Awkward()):
                await attempt(f"pid {type(bad).__name__}", lambda bad=bad: bus.publish(ProcessEvent(bad, "sh")))
                await attempt(f"max {type(bad).__name__}", lambda bad=bad: events.get_many(bad, timeout=0.1))
                await attempt(f"timeout {type(bad).__name__}", lambda bad=bad: events.get(timeout=bad))
            for bad in (BadMap(), BadDict(a="b"), ChangingMap(a="b", c="d"), {"a": BadText("b")}):
                await attempt(
                    f"metadata {type(bad).__name__}", lambda bad=bad: bus.publish(ProcessEvent(1, "sh", metadata=bad))
                )
            for zone in (BadZone(), OddZone()):
                moment = datetime(2026, 1, 1, tzinfo=zone)
                await attempt(
                    f"time {type(zone).__name__}",
                    lambda moment=moment: bus.publish(ProcessEvent(1, "sh", start_time=moment)),
                )
            await attempt("equal", lambda: event == Equal())
            await attempt("filter list", lambda: EventFilter(event_types=BadList(["process"])))

            # Functions of the loop that are not what they were.
            for name in ("call_soon", "call_soon_threadsafe", "call_later", "call_at", "create_future"):
                setattr(loop, name, planted)
                try:
                    for _ in range(3):
                        bus.publish_nowait(event)
                    said[f"{way} {name}"] = "taken"
                except BaseException as error:
                    said[f"{way} {name}"] = type(error).__name__
                finally:
                    delattr(loop, name)
                await works()

            # Handlers of the log: one that raises is nobody's business but the host's.
            handler, logger = Handler(), logging.getLogger("daemoneye_eventbus")
            logger.addHandler(handler)
            other = None
            try:
                other = await EventBus.connect(path, config=ClientConfig(pool=False, client="other"))
                for client in broker.clients():
                    if client.name == "other":
                        broker.disconnect_client(client.id)
                for _ in range(10):
                    await asyncio.sleep(0.01)
                said[f"{way} log"] = "nothing came out"
            except BaseException as error:
                said[f"{way} log"] = type(error).__name__
            finally:
                logger.removeHandler(handler)
            with contextlib.suppress(EventBusError):
                if other is not None:
                    await other.shutdown()
            await works()

            # A warning that is an error, out of a destructor.
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                unraisable, before = [], sys.unraisablehook
                sys.unraisablehook = lambda what: unraisable.append(type(what.exc_value).__name__)
                await bus.subscribe("events.network.*")
                gc.collect()
                sys.unraisablehook = before
                said[f"{way} destructor"] = ",".join(unraisable) or "none"
            await works()
            await events.close()
            await bus.shutdown()
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
