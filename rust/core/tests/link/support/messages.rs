//! Messages to publish, and what has come of them.

use daemoneye_eventbus_core::client::{Inbox, Link, Sent};
use daemoneye_eventbus_core::event::{CollectionEvent, CorrelationMetadata, Map, ProcessEvent, Timestamp};
use daemoneye_eventbus_core::queue::Content;
use daemoneye_eventbus_core::wire::{self, Dialect, Draft, Payload};

use super::TestWaker;

pub(crate) fn with_draft<R>(pid: u32, work: impl FnOnce(&mut Draft<'_>) -> R) -> R {
    with_draft_of(pid, "sh", work)
}

/// Of a process of this name, which may be long.
pub(crate) fn with_draft_of<R>(pid: u32, name: &str, work: impl FnOnce(&mut Draft<'_>) -> R) -> R {
    let event = CollectionEvent::Process(ProcessEvent {
        pid,
        name,
        command_line: None,
        executable_path: None,
        ppid: None,
        start_time: None,
        metadata: Map(vec![]),
    });
    let id = "0b6d2f0e-3f0f-4a27-9c34-0b6f4f0f8d11";
    let mut draft = Draft {
        id: uuid::Uuid::from_u128(u128::from(pid)),
        topic: "events.process.new",
        correlation_metadata: CorrelationMetadata {
            correlation_id: id,
            parent_correlation_id: None,
            root_correlation_id: id,
            sequence_number: 0,
            workflow_stage: None,
            correlation_tags: Map::default(),
            created_at: Timestamp::now(),
        },
        payload: Payload::Event(&event),
        sequence: 0,
        timestamp: Timestamp::now(),
    };
    work(&mut draft)
}

pub(crate) fn publish(link: &Link, waker: &TestWaker, pid: u32) {
    with_draft(pid, |draft| {
        waker.until("taken", || match link.publish(draft, None).unwrap().0 {
            Sent::Full => false,
            Sent::Buffered | Sent::Blocked => {
                link.flush_elsewhere();
                true
            }
            Sent::Written | Sent::Waiting => true,
        });
    });
}

/// The next `count` messages, as their frames.
pub(crate) fn frames(inbox: &Inbox, waker: &TestWaker, count: usize) -> Vec<Vec<u8>> {
    let mut got = Vec::new();
    waker.until("delivered", || {
        while got.len() < count
            && let Ok(popped) = inbox.queue.pop()
        {
            let Content::Frames(frame) = &popped.content else {
                panic!("a message in frames")
            };
            got.push(frame.to_vec());
        }
        got.len() == count
    });
    got
}

pub(crate) fn pids(inbox: &Inbox, waker: &TestWaker, count: usize) -> Vec<u32> {
    let pid = |frame: Vec<u8>| match wire::read(Dialect::Bincode, &frame[4..]).unwrap() {
        (_, Some(CollectionEvent::Process(event))) => event.pid,
        _ => panic!("a process event"),
    };
    frames(inbox, waker, count).into_iter().map(pid).collect()
}
