"""Fault 35. Values at the edge of what a field can hold."""

import asyncio
import math
import os
from datetime import UTC, datetime

import pytest

from daemoneye_eventbus import (
    ClientConfig,
    EventBus,
    FilesystemEvent,
    PerformanceEvent,
    ProcessEvent,
    Timestamp,
    TriggerRequest,
    os_text,
)

pytestmark = [
    pytest.mark.fault(
        35,
        "H",
        "pid 0 and 2^32-1, year 1 and 9999, pre-1970, NaN, int min/max, surrogate-escaped file names",
        "exact round trip or clear error; no panic",
    ),
    pytest.mark.quick,
    pytest.mark.limit(60),
]


def test_extremes_travel_exactly_or_are_refused(bench, path, folder, seen):
    b = bench()
    (folder / "f").mkdir()
    name = os.fsencode(str(folder / "f")) + b"/\xff\x80\x1b[31m\n"
    open(name, "w").close()
    (found,) = os.listdir(folder / "f")
    with pytest.raises(ValueError, match="name"):
        ProcessEvent(pid=1, name=found)
    events = [
        ProcessEvent(pid=0, name=""),
        ProcessEvent(pid=2**32 - 1, ppid=2**32 - 1, name="x" * 70_000, metadata={"": ""}),
        ProcessEvent(pid=1, name="\0\x1b\u202e\U0010ffff", start_time=datetime(1970, 1, 1, tzinfo=UTC)),
        ProcessEvent(pid=1, name="x", start_time=datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        ProcessEvent(pid=1, name="x", start_time=Timestamp.from_ns(1)),
        ProcessEvent(pid=1, name=os_text(found)),
        FilesystemEvent(path="p", event_type="w", size=2**64 - 1),
        PerformanceEvent(metric_name="m", value=math.inf, unit=""),
        PerformanceEvent(metric_name="m", value=-0.0, unit=""),
        PerformanceEvent(metric_name="m", value=5e-324, unit=""),
        PerformanceEvent(metric_name="m", value=math.nan, unit=""),
    ]
    refused = {
        "pid": lambda: ProcessEvent(pid=2**32, name="x"),
        "-1": lambda: ProcessEvent(pid=-1, name="x"),
        "size": lambda: FilesystemEvent(path="p", event_type="w", size=2**64),
        "priority": lambda: TriggerRequest(request_id="r", collector_type="c", priority=256),
        "start_time": lambda: ProcessEvent(pid=1, name="x", start_time=datetime(1, 1, 1, tzinfo=UTC)),
        "1970": lambda: ProcessEvent(pid=1, name="x", start_time=datetime(1969, 12, 31, tzinfo=UTC)),
        "naive": lambda: ProcessEvent(pid=1, name="x", start_time=datetime(2020, 1, 1)),
    }
    for word, make in refused.items():
        with pytest.raises(ValueError, match=r".") as caught:
            make()
        assert word in str(caught.value), (word, caught.value)

    async def main():
        async with EventBus.connect(path, config=ClientConfig(pool=False)) as bus:
            for dialect in ("bincode", "postcard"):
                async with EventBus.connect(path, config=ClientConfig(pool=False, dialect=dialect)) as other:
                    patterns = ["events.process.*", "events.filesystem.*", "events.performance.edge"]
                    async with other.subscribe(*patterns) as got:
                        for event in events:
                            topic = "events.performance.edge" if isinstance(event, PerformanceEvent) else None
                            await bus.publish(event, topic=topic)
                            back = (await got.get(timeout=5)).event
                            if isinstance(event, PerformanceEvent):
                                assert math.isnan(back.value) == math.isnan(event.value)
                                assert math.isnan(event.value) or repr(back) == repr(event)
                            else:
                                assert back == event

    asyncio.run(main())
    seen(f"{len(events)} values exact in both dialects, {len(refused) + 1} refused by field; {b.undisturbed()}")
