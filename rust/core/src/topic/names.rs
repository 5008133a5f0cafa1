//! The original's topic names, and those that its code uses without naming them.
//!
//! Every constant is written once; [`ALL_NAMES`] is the same list, which the Python module is held to. Names ending in `ALL` are
//! patterns, all others are topics.
use crate::event::EventKind;

macro_rules! names {
    ($($module:ident { $($constant:ident $flat:literal = $topic:literal;)+ })+) => {
        $(pub mod $module {
            $(pub const $constant: &str = $topic;)+
        })+

        /// Every constant under its flat name, in the order of the modules.
        pub const ALL_NAMES: &[(&str, &str)] = &[$($(($flat, $module::$constant)),+),+];
    };
}

names! {
    process {
        LIFECYCLE "PROCESS_LIFECYCLE" = "events.process.lifecycle";
        METADATA "PROCESS_METADATA" = "events.process.metadata";
        TREE "PROCESS_TREE" = "events.process.tree";
        INTEGRITY "PROCESS_INTEGRITY" = "events.process.integrity";
        ANOMALY "PROCESS_ANOMALY" = "events.process.anomaly";
        BATCH "PROCESS_BATCH" = "events.process.batch";
        NEW "PROCESS_NEW" = "events.process.new";
        START "PROCESS_START" = "events.process.start";
        STOP "PROCESS_STOP" = "events.process.stop";
        MODIFY "PROCESS_MODIFY" = "events.process.modify";
        ALL "PROCESS_ALL" = "events.process.#";
    }
    network {
        CONNECTIONS "NETWORK_CONNECTIONS" = "events.network.connections";
        DNS "NETWORK_DNS" = "events.network.dns";
        TRAFFIC "NETWORK_TRAFFIC" = "events.network.traffic";
        ANOMALY "NETWORK_ANOMALY" = "events.network.anomaly";
        NEW "NETWORK_NEW" = "events.network.new";
        ALL "NETWORK_ALL" = "events.network.#";
    }
    filesystem {
        OPERATIONS "FILESYSTEM_OPERATIONS" = "events.filesystem.operations";
        ACCESS "FILESYSTEM_ACCESS" = "events.filesystem.access";
        BULK "FILESYSTEM_BULK" = "events.filesystem.bulk";
        ANOMALY "FILESYSTEM_ANOMALY" = "events.filesystem.anomaly";
        NEW "FILESYSTEM_NEW" = "events.filesystem.new";
        ALL "FILESYSTEM_ALL" = "events.filesystem.#";
    }
    performance {
        UTILIZATION "PERFORMANCE_UTILIZATION" = "events.performance.utilization";
        SYSTEM "PERFORMANCE_SYSTEM" = "events.performance.system";
        ANOMALY "PERFORMANCE_ANOMALY" = "events.performance.anomaly";
        NEW "PERFORMANCE_NEW" = "events.performance.new";
        ALL "PERFORMANCE_ALL" = "events.performance.#";
    }
    collector {
        LIFECYCLE "COLLECTOR_LIFECYCLE" = "control.collector.lifecycle";
        CONFIG "COLLECTOR_CONFIG" = "control.collector.config";
        TASK "COLLECTOR_TASK" = "control.collector.task";
        REGISTRATION "COLLECTOR_REGISTRATION" = "control.collector.registration";
        ALL "COLLECTOR_ALL" = "control.collector.#";
    }
    agent {
        ORCHESTRATION "AGENT_ORCHESTRATION" = "control.agent.orchestration";
        POLICY "AGENT_POLICY" = "control.agent.policy";
        ALL "AGENT_ALL" = "control.agent.#";
    }
    health {
        HEARTBEAT "HEALTH_HEARTBEAT" = "control.health.heartbeat";
        STATUS "HEALTH_STATUS" = "control.health.status";
        DIAGNOSTICS "HEALTH_DIAGNOSTICS" = "control.health.diagnostics";
        ALL "HEALTH_ALL" = "control.health.#";
    }
    shutdown {
        SHUTDOWN "SHUTDOWN" = "control.shutdown";
        ALL "SHUTDOWN_ALL" = "control.shutdown.#";
    }
    trigger {
        REQUEST "TRIGGER_REQUEST" = "control.trigger.request";
    }
}

/// Where `EventBus.publish` sends an event for which no topic is named.
pub const fn default_topic(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Process => process::NEW,
        EventKind::Network => network::NEW,
        EventKind::Filesystem => filesystem::NEW,
        EventKind::Performance => performance::NEW,
        EventKind::Trigger => trigger::REQUEST,
    }
}

/// The topics named after an event type. Not checked: `event_type` is a caller's.
pub(super) fn family(event_type: &str) -> String {
    format!("events.{event_type}.*")
}
