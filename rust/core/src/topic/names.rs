//! The original's topic names and builders, and those that its code uses without naming them.
//!
//! Every constant is written once; [`ALL_NAMES`] is the same list for generating the Python module. Names ending in
//! `ALL` are patterns, all others are topics. Builders only join text: what they give is checked where it is used, as
//! every topic is, or at once by [`TopicBuilder::build_validated`].
use super::{DEFAULT_MAX_DEPTH, check};
use crate::error::TopicError;
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

/// The pattern that an event type stands for in a subscriber's capabilities. Not checked: `event_type` is a caller's.
pub fn capability_pattern(event_type: &str) -> String {
    format!("events.{event_type}.*")
}

pub fn task_topic(collector_type: &str, collector_id: &str) -> String {
    format!("{}.{collector_type}.{collector_id}", collector::TASK)
}

pub fn lifecycle_topic(collector_id: &str) -> String {
    format!("control.collector.{collector_id}")
}

pub fn config_topic(collector_id: &str) -> String {
    format!("{}.{collector_id}", collector::CONFIG)
}

pub fn heartbeat_topic(collector_id: &str) -> String {
    format!("{}.{collector_id}", health::HEARTBEAT)
}

pub fn shutdown_topic(collector_id: &str) -> String {
    format!("{}.{collector_id}", shutdown::SHUTDOWN)
}

/// Joins segments to a topic: `TopicBuilder::events().process().segment("new").build()`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicBuilder {
    text: Option<String>,
}

macro_rules! segments {
    ($($name:ident)+) => {
        $(#[must_use]
        pub fn $name(self) -> Self {
            self.segment(stringify!($name))
        })+
    };
}

impl TopicBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn events() -> Self {
        Self::new().segment("events")
    }

    pub fn control() -> Self {
        Self::new().segment("control")
    }

    segments! {
        process network filesystem performance collector agent health
        lifecycle metadata tree integrity anomaly batch config task heartbeat status diagnostics
    }

    #[must_use]
    pub fn segment(self, segment: impl AsRef<str>) -> Self {
        let text = match self.text {
            None => segment.as_ref().to_owned(),
            Some(mut text) => {
                text.push('.');
                text.push_str(segment.as_ref());
                text
            }
        };
        Self { text: Some(text) }
    }

    pub fn build(self) -> String {
        self.text.unwrap_or_default()
    }

    pub fn build_validated(self) -> Result<String, TopicError> {
        let topic = self.build();
        check(&topic, DEFAULT_MAX_DEPTH)?;
        Ok(topic)
    }
}
