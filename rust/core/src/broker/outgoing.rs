//! What a bus of the broker's own process publishes, as filters see it: never encoded for them.

use crate::event::{CollectionEvent, EventKind};
use crate::filter::Filters;
use crate::topic::names::trigger;
use crate::wire::{Dialect, Draft, Message, MessageType, Payload, Summary};

/// A draft as filters see it.
pub(super) struct Outgoing<'a> {
    pub(super) draft: &'a Draft<'a>,
    pub(super) summary: Summary<'a>,
    /// What a control payload is that is a whole trigger request.
    trigger: Option<CollectionEvent<'a>>,
}

impl<'a> Outgoing<'a> {
    pub(super) fn new(draft: &'a Draft<'a>, dialect: Dialect) -> Self {
        let (trigger, kind) = match draft.payload {
            // Over a socket a reader knows a trigger request by its topic alone; here it is no different.
            Payload::Event(event) if event.kind() == EventKind::Trigger && draft.topic != trigger::REQUEST => {
                (None, None)
            }
            Payload::Event(event) => (None, Some(event.kind())),
            Payload::Control(payload) if draft.topic == trigger::REQUEST => {
                let event = dialect.decode(payload).ok();
                let event = event.filter(|event: &CollectionEvent<'_>| event.kind() == EventKind::Trigger);
                let kind = event.as_ref().map(CollectionEvent::kind);
                (event, kind)
            }
            Payload::Control(_) => (None, None),
        };
        let message_type = match kind {
            Some(EventKind::Trigger) | None => MessageType::Control,
            Some(_) => MessageType::Event,
        };
        Self {
            draft,
            summary: Summary {
                topic: draft.topic.into(),
                message_type,
                sequence: draft.sequence,
                event: kind,
            },
            trigger,
        }
    }

    pub(super) fn accepts(&self, filters: &Filters) -> bool {
        filters.accept_summary(&self.summary).unwrap_or_else(|| {
            let message = Message {
                id: self.draft.id,
                topic: self.draft.topic,
                correlation_metadata: self.draft.correlation_metadata.clone(),
                payload: &[],
                sequence: self.draft.sequence,
                timestamp: self.draft.timestamp,
                message_type: self.summary.message_type,
            };
            let event = match self.draft.payload {
                Payload::Event(event) => self.summary.event.map(|_| event),
                Payload::Control(_) => self.trigger.as_ref(),
            };
            filters.accept(&message, event)
        })
    }
}
