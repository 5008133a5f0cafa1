//! The parts that no socket shows: who is admitted, what is agreed, and how routes are kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::config::BrokerConfig;
use super::deliver::Delivery;
use super::route::{LaneKind, Sink};
use super::router::{Interest, Router};
use super::shared::Shared;
use crate::event::{CorrelationMetadata, Map, Timestamp};
use crate::queue::{
    Budget, Content, DropReason, Limits, OnFull, Overflow, Pushed, Queue, Run, Sender, Subscriptions, Wake,
};
use crate::topic::Pattern;
use crate::transport::Sid;
use crate::wire::frame::PREFIX;
use crate::wire::{self, Dialect, Draft, Payload};

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

pub(super) fn join(router: &Router) -> Arc<Sink> {
    let limits = Limits {
        messages: 10,
        bytes: 1000,
    };
    let budget = Arc::new(Budget::unlimited());
    let queue = Queue::new(
        limits,
        Overflow::DropOldest,
        Some(Duration::from_secs(1)),
        budget,
        Arc::new(Nobody),
    );
    router.join(Arc::new(queue), Dialect::Bincode, 1000, None)
}

fn interest(patterns: &[&str], include_control: bool) -> Interest {
    Interest {
        patterns: patterns
            .iter()
            .map(|pattern| Pattern::parse(pattern, 8).unwrap())
            .collect(),
        filters: None,
        include_control,
    }
}

#[test]
fn who_may_connect_is_stated_in_the_words_of_the_system() {
    let default = BrokerConfig::default;
    let sids = BrokerConfig {
        allowed_sids: vec![Sid::parse("allowed_sids", "S-1-5-32-545").unwrap()],
        ..default()
    };
    let (mut mode, mut group, mut uids) = (default(), default(), default());
    mode.socket_mode = 0o660;
    group.socket_group = Some(7);
    uids.allowed_uids = vec![0];
    for (config, windows, field) in [
        (sids, false, "allowed_sids: "),
        (mode, true, "socket_mode: "),
        (group, true, "socket_group: "),
        (uids, true, "allowed_uids: "),
    ] {
        let error = config.validate_platform(windows).unwrap_err().to_string();
        assert!(error.starts_with(field), "{error}");
        assert_eq!(config.validate_platform(!windows), Ok(()));
    }
}

#[cfg(unix)]
#[test]
fn only_the_own_and_listed_uids_are_admitted() {
    let mut config = BrokerConfig::default();
    assert!(config.admits(1000, 1000));
    assert!(!config.admits(0, 1000) && !config.admits(1001, 1000));
    // The number that stands for everybody without a number is nobody's own.
    assert!(!config.admits(65_534, 65_534));
    config.allowed_uids = vec![0, 65_534];
    assert!(config.admits(0, 1000) && config.admits(65_534, 65_534));
}

#[test]
fn a_client_gets_at_most_the_brokers_queue() {
    let config = BrokerConfig::default();
    let limits = |messages, bytes| {
        let limits = config.queue_limits(messages, bytes);
        (limits.messages, limits.bytes)
    };
    assert_eq!(limits(None, None), (config.queue_messages, config.queue_bytes));
    assert_eq!(
        limits(Some(u64::MAX), Some(u64::MAX)),
        (config.queue_messages, config.queue_bytes)
    );
    assert_eq!(limits(Some(0), Some(5)), (1, 5));
}

#[test]
fn a_route_names_each_reader_once_with_all_that_match() {
    let router = Router::default();
    let (one, two) = (join(&router), join(&router));
    router
        .change()
        .subscribe(&one, 5, interest(&["events.#", "events.process.*"], false), None);
    router
        .change()
        .subscribe(&one, 3, interest(&["events.process.new"], true), None);
    router
        .change()
        .subscribe(&two, 1, interest(&["events.process.new"], false), None);
    assert_eq!(router.subscriptions_and_patterns(), (3, 3));
    let route = router.resolve("events.process.new");
    let ids = |kind| {
        route
            .lane(kind)
            .targets
            .iter()
            .map(|target| target.plain.to_vec())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (ids(LaneKind::Everyone), ids(LaneKind::Control)),
        (vec![vec![3, 5], vec![1]], vec![vec![3]])
    );
    // Topics with the same readers share a route, so that their messages share runs.
    let shared = router.resolve("events.file.new");
    assert!(Arc::ptr_eq(&shared, &router.resolve("events.network.x.y")) && !Arc::ptr_eq(&shared, &route));
    router.change().leave(&one);
    router.change().unsubscribe(&two, 1, None);
    assert!(
        router
            .resolve("events.process.new")
            .lane(LaneKind::Everyone)
            .targets
            .is_empty()
    );
    assert_eq!(router.subscriptions_and_patterns(), (0, 0));
}

#[test]
fn who_reads_nothing_comes_and_goes_without_a_look_up_of_others() {
    let router = Router::default();
    let (publisher, reader) = (join(&router), join(&router));
    router
        .change()
        .subscribe(&reader, 1, interest(&["events.#"], false), None);
    let generation = router.generation();
    router.change().leave(&publisher);
    assert_eq!(router.generation(), generation);
    router.change().leave(&reader);
    assert!(router.generation() > generation);
}

#[test]
#[cfg_attr(miri, ignore = "a broker needs getrlimit, which is missing there")]
fn a_bus_that_is_closed_leaves_nothing_queued_by_a_subscription_that_is_being_closed() {
    let shared = Shared::new(BrokerConfig::default());
    let sink = join(&shared.router);
    let id = uuid::Uuid::nil();
    shared.register_local(id, String::new(), Arc::default());
    assert!(shared.register_queue(id, &sink));
    let run = Run::object(Arc::new(()), 10);
    sink.queue
        .push(&run, &Subscriptions::One(0), sink.queue.epoch(), OnFull::Overflow);
    // The other thread has taken it off the bus, and has not come to this.
    shared.retire_local(id);
    shared.retire_queue(id, &sink);
    let now = shared.statistics();
    assert_eq!((now.queued_messages, now.queued_bytes), (0, 0));
    assert_eq!((now.bus.messages_delivered, now.dropped["closed"]), (0, 1));
}

#[test]
fn what_was_looked_up_before_a_change_does_not_come_in_after_it() {
    let router = Router::default();
    let sink = join(&router);
    router
        .change()
        .subscribe(&sink, 1, interest(&["events.#"], false), None);
    let generation = router.generation();
    let old = router.resolve("events.a");
    router
        .change()
        .subscribe(&sink, 2, interest(&["events.#"], false), None);
    assert!(router.generation() > generation);
    let new = router.resolve("events.a");
    let push = |route: &super::route::Route| {
        let target = &route.lane(LaneKind::Everyone).targets[0];
        let run = Run::object(Arc::new(()), 10);
        target
            .sink
            .queue
            .push(&run, &target.plain, target.epoch, OnFull::Overflow)
    };
    assert_eq!((push(&old), push(&new)), (Pushed::Stale, Pushed::Done));
    assert_eq!(sink.queue.snapshot().pending, 2);
}

/// A frame of a control message to `control.a`.
fn control() -> Vec<u8> {
    let draft = Draft {
        id: uuid::Uuid::nil(),
        topic: "control.a",
        correlation_metadata: CorrelationMetadata {
            correlation_id: "c",
            parent_correlation_id: None,
            root_correlation_id: "c",
            sequence_number: 0,
            workflow_stage: None,
            correlation_tags: Map::default(),
            created_at: Timestamp::now(),
        },
        payload: Payload::Control(b"payload"),
        sequence: 0,
        timestamp: Timestamp::now(),
    };
    let mut frame = Vec::new();
    wire::write(Dialect::Bincode, &draft, 1000, 8, &mut frame).unwrap();
    frame
}

#[test]
fn a_reader_whose_subscriptions_change_between_every_two_looks_loses_nothing() {
    let router = Router::default();
    let sink = join(&router);
    router
        .change()
        .subscribe(&sink, 1, interest(&["control.#"], true), None);
    let route = router.resolve("control.a");
    let lane = route.lane(LaneKind::Control);
    // Whatever is looked up from here on is out of date when it is used.
    sink.queue.change(|_| ((), None));
    let frame = control();
    let largest = frame.len() - PREFIX;
    let sender = Arc::new(Sender {
        uid: 7,
        pid: None,
        client_id: uuid::Uuid::nil(),
    });
    let mut delivery = Delivery::new(&router, 8, OnFull::Overflow);
    let run = Run::frames(Bytes::from(frame.clone()), 1).from(Some(&sender));
    delivery.frames(lane, &run, Dialect::Bincode, largest);
    delivery.lost(&lane.targets[0], 1, [1, 2].into_iter().collect(), DropReason::TooLarge);
    delivery.frames(lane, &run, Dialect::Bincode, largest);
    assert!(delivery.has_handed_over() && delivery.finish().is_none());
    let snapshot = sink.queue.snapshot();
    assert_eq!((snapshot.pending, snapshot.lost()), (2, 1));
    for lost in [0, 1] {
        let popped = sink.queue.pop().unwrap();
        assert!(matches!(popped.content, Content::Frames(got) if got == frame));
        assert_eq!((popped.dropped_before, popped.sender.as_ref()), (lost, Some(&sender)));
    }
    // Full, and the publisher waits: the rest is left with him, for those who are there now.
    let waker: Arc<dyn Wake> = Arc::new(Nobody);
    let mut delivery = Delivery::new(&router, 8, OnFull::Wait(&waker));
    for _ in 0..11 {
        delivery.frames(lane, &run, Dialect::Bincode, largest);
    }
    let waiting = delivery.finish().unwrap();
    let left = waiting.messages();
    assert!(left > 0 && sink.queue.snapshot().pending + left == 11);
    while sink.queue.pop().is_ok() {}
    let mut delivery = Delivery::new(&router, 8, OnFull::Wait(&waker));
    delivery.resume(waiting);
    assert!(delivery.finish().is_none() && sink.queue.snapshot().pending == left);
}
