"""Receives and accounts: subscriber.py PATH SPEC.

SPEC: patterns, expect (received + dropped to end at), config, options (of subscribe), delay
(seconds after each event).
Prints its account: what came, in which order, and where the gaps were. It gives up when nothing has followed for so
many waits, which are no measure of time: whoever is frozen, or gets no processor, does not wait. Nor does it while
others still prepare to publish.
"""

import asyncio
import itertools
import json
import sys

from daemoneye_eventbus import ClientConfig, ConnectionLost, EventBus, SubscriptionClosed

WAITS = 160


async def main(path: str, spec: dict) -> None:
    config = ClientConfig(**spec.get("config", {}))
    seen: list[int] = []
    before: list[int] = []
    topics: dict[str, int] = {}
    end, said = "complete", ""
    async with EventBus.connect(path, config=config) as bus:
        async with bus.subscribe(*spec["patterns"], **spec.get("options", {})) as events:
            print(json.dumps({"ready": True}), flush=True)
            waits, last = 0, 0
            while len(seen) + events.dropped < spec["expect"]:
                try:
                    received = await events.get(timeout=0.05)
                except TimeoutError:
                    if events.dropped != last:
                        waits, last = 0, events.dropped
                    waits += bool(seen or last)
                    if waits > WAITS:
                        end = "idle"
                        break
                    continue
                except (ConnectionLost, SubscriptionClosed) as error:
                    end, said = type(error).__name__, str(error)
                    break
                waits = 0
                seen.append(received.event.pid)
                before.append(received.dropped_before)
                topics[received.topic] = topics.get(received.topic, 0) + 1
                if delay := spec.get("delay"):
                    await asyncio.sleep(delay)
            account = {
                "end": end,
                "said": said,
                "received": len(seen),
                "dropped": events.dropped,
                "gaps": events.gaps,
                "in_order": all(a < b for a, b in itertools.pairwise(seen)),
                "first": seen[:1],
                "last": seen[-1:],
                "distinct": len(set(seen)),
                "dropped_before": sum(before),
                "misplaced": [(a, b, n) for a, b, n in zip([-1, *seen], seen, before, strict=False) if b - a - 1 != n][
                    :5
                ],
                "topics": topics,
            }
            print(json.dumps(account), flush=True)


asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
