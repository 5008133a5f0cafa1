"""Topics and patterns: the original's names and builders, and what a pattern matches.

A topic is 1 to 8 segments of ``[a-z0-9_-]`` joined by dots, in the domain ``events``, ``control`` or ``health``, at
most 256 bytes. In a pattern ``*`` and ``+`` stand for one segment, a final ``*`` for one or more, a final ``#``
for zero or more.

Names that end in ``_ALL`` are patterns, all others are topics. The builders only join text; the result is checked
where it is used.
"""

from __future__ import annotations

from typing import Final, Self

from daemoneye_eventbus._checks import text
from daemoneye_eventbus._native import TopicPattern

__all__ = [
    "AGENT_ALL",
    "AGENT_ORCHESTRATION",
    "AGENT_POLICY",
    "COLLECTOR_ALL",
    "COLLECTOR_CONFIG",
    "COLLECTOR_LIFECYCLE",
    "COLLECTOR_REGISTRATION",
    "COLLECTOR_TASK",
    "FILESYSTEM_ACCESS",
    "FILESYSTEM_ALL",
    "FILESYSTEM_ANOMALY",
    "FILESYSTEM_BULK",
    "FILESYSTEM_NEW",
    "FILESYSTEM_OPERATIONS",
    "HEALTH_ALL",
    "HEALTH_DIAGNOSTICS",
    "HEALTH_HEARTBEAT",
    "HEALTH_STATUS",
    "NETWORK_ALL",
    "NETWORK_ANOMALY",
    "NETWORK_CONNECTIONS",
    "NETWORK_DNS",
    "NETWORK_NEW",
    "NETWORK_TRAFFIC",
    "PERFORMANCE_ALL",
    "PERFORMANCE_ANOMALY",
    "PERFORMANCE_NEW",
    "PERFORMANCE_SYSTEM",
    "PERFORMANCE_UTILIZATION",
    "PROCESS_ALL",
    "PROCESS_ANOMALY",
    "PROCESS_BATCH",
    "PROCESS_INTEGRITY",
    "PROCESS_LIFECYCLE",
    "PROCESS_METADATA",
    "PROCESS_MODIFY",
    "PROCESS_NEW",
    "PROCESS_START",
    "PROCESS_STOP",
    "PROCESS_TREE",
    "SHUTDOWN",
    "SHUTDOWN_ALL",
    "TRIGGER_REQUEST",
    "TopicBuilder",
    "TopicPattern",
    "config_topic",
    "heartbeat_topic",
    "lifecycle_topic",
    "shutdown_topic",
    "task_topic",
]

PROCESS_LIFECYCLE: Final = "events.process.lifecycle"
PROCESS_METADATA: Final = "events.process.metadata"
PROCESS_TREE: Final = "events.process.tree"
PROCESS_INTEGRITY: Final = "events.process.integrity"
PROCESS_ANOMALY: Final = "events.process.anomaly"
PROCESS_BATCH: Final = "events.process.batch"
PROCESS_NEW: Final = "events.process.new"
PROCESS_START: Final = "events.process.start"
PROCESS_STOP: Final = "events.process.stop"
PROCESS_MODIFY: Final = "events.process.modify"
PROCESS_ALL: Final = "events.process.#"

NETWORK_CONNECTIONS: Final = "events.network.connections"
NETWORK_DNS: Final = "events.network.dns"
NETWORK_TRAFFIC: Final = "events.network.traffic"
NETWORK_ANOMALY: Final = "events.network.anomaly"
NETWORK_NEW: Final = "events.network.new"
NETWORK_ALL: Final = "events.network.#"

FILESYSTEM_OPERATIONS: Final = "events.filesystem.operations"
FILESYSTEM_ACCESS: Final = "events.filesystem.access"
FILESYSTEM_BULK: Final = "events.filesystem.bulk"
FILESYSTEM_ANOMALY: Final = "events.filesystem.anomaly"
FILESYSTEM_NEW: Final = "events.filesystem.new"
FILESYSTEM_ALL: Final = "events.filesystem.#"

PERFORMANCE_UTILIZATION: Final = "events.performance.utilization"
PERFORMANCE_SYSTEM: Final = "events.performance.system"
PERFORMANCE_ANOMALY: Final = "events.performance.anomaly"
PERFORMANCE_NEW: Final = "events.performance.new"
PERFORMANCE_ALL: Final = "events.performance.#"

COLLECTOR_LIFECYCLE: Final = "control.collector.lifecycle"
COLLECTOR_CONFIG: Final = "control.collector.config"
COLLECTOR_TASK: Final = "control.collector.task"
COLLECTOR_REGISTRATION: Final = "control.collector.registration"
COLLECTOR_ALL: Final = "control.collector.#"

AGENT_ORCHESTRATION: Final = "control.agent.orchestration"
AGENT_POLICY: Final = "control.agent.policy"
AGENT_ALL: Final = "control.agent.#"

HEALTH_HEARTBEAT: Final = "control.health.heartbeat"
HEALTH_STATUS: Final = "control.health.status"
HEALTH_DIAGNOSTICS: Final = "control.health.diagnostics"
HEALTH_ALL: Final = "control.health.#"

SHUTDOWN: Final = "control.shutdown"
SHUTDOWN_ALL: Final = "control.shutdown.#"

TRIGGER_REQUEST: Final = "control.trigger.request"


def task_topic(collector_type: str, collector_id: str) -> str:
    """The topic of tasks for the collector ``collector_id``, of the kind ``collector_type``."""
    return f"{COLLECTOR_TASK}.{text('collector_type', collector_type)}.{text('collector_id', collector_id)}"


def lifecycle_topic(collector_id: str) -> str:
    """The topic of lifecycle messages about the collector ``collector_id``."""
    return f"control.collector.{text('collector_id', collector_id)}"


def config_topic(collector_id: str) -> str:
    """The topic of configuration for the collector ``collector_id``."""
    return f"{COLLECTOR_CONFIG}.{text('collector_id', collector_id)}"


def heartbeat_topic(collector_id: str) -> str:
    """The topic of heartbeats of the collector ``collector_id``."""
    return f"{HEALTH_HEARTBEAT}.{text('collector_id', collector_id)}"


def shutdown_topic(collector_id: str) -> str:
    """The topic of requests to the collector ``collector_id`` to stop."""
    return f"{SHUTDOWN}.{text('collector_id', collector_id)}"


class TopicBuilder:
    """Joins segments to a topic: ``TopicBuilder.events().process().segment("new").build()``.

    Each step returns a new builder, so that a beginning can be shared.
    """

    __slots__ = ("_segments",)

    def __init__(self) -> None:
        """No segment yet."""
        self._segments: tuple[str, ...] = ()

    @classmethod
    def events(cls) -> Self:
        """Begins in the domain ``events``."""
        return cls().segment("events")

    @classmethod
    def control(cls) -> Self:
        """Begins in the domain ``control``."""
        return cls().segment("control")

    def process(self) -> Self:
        """Adds the segment ``process``."""
        return self.segment("process")

    def network(self) -> Self:
        """Adds the segment ``network``."""
        return self.segment("network")

    def filesystem(self) -> Self:
        """Adds the segment ``filesystem``."""
        return self.segment("filesystem")

    def performance(self) -> Self:
        """Adds the segment ``performance``."""
        return self.segment("performance")

    def collector(self) -> Self:
        """Adds the segment ``collector``."""
        return self.segment("collector")

    def agent(self) -> Self:
        """Adds the segment ``agent``."""
        return self.segment("agent")

    def health(self) -> Self:
        """Adds the segment ``health``."""
        return self.segment("health")

    def segment(self, segment: str) -> Self:
        """Adds ``segment``, whatever it is."""
        longer = type(self)()
        longer._segments = (*self._segments, text("segment", segment))
        return longer

    def build(self) -> str:
        """The topic, which is checked where it is used."""
        return ".".join(self._segments)

    def build_validated(self) -> str:
        """The topic, or `TopicError` if it is none; how many segments it may have, the broker decides."""
        topic = self.build()
        TopicPattern("#").matches(topic)
        return topic

    def __repr__(self) -> str:
        return f"TopicBuilder({self.build()!r})"
