//! What a publisher waits with when there is nobody to wait for any more: every pair that matched is in one count, and costs nobody else's.

use std::sync::Arc;
use std::time::Duration;

use daemoneye_eventbus_core::Error;
use daemoneye_eventbus_core::broker::{
    BrokerConfig, BrokerStatistics, Caller, ClientKind, LocalSubscription, PendingPublish, Port, PortOptions, Published,
};
use daemoneye_eventbus_core::queue::{Content, Limits, Object, Overflow, Wake};
use daemoneye_eventbus_core::wire::Payload;
use daemoneye_eventbus_core::wire::text::Congestion;

use crate::support::{Bus, Client, NEW, Nobody, asked, frame_of, guarded, process, shut_down, with_draft};

/// Nobody is given up for being slow.
fn bus() -> Bus {
    Bus::with(BrokerConfig {
        stall_timeout: Duration::from_secs(60),
        ..BrokerConfig::default()
    })
}

fn waker() -> Arc<dyn Wake> {
    Arc::new(Nobody)
}

fn port(bus: &Bus) -> Port {
    let options = PortOptions {
        congestion: Congestion::Block,
        ..PortOptions::default()
    };
    bus.broker.port(options).unwrap()
}

fn subscribe(port: &Port, messages: usize) -> LocalSubscription {
    let limits = Limits {
        messages,
        bytes: 1 << 20,
    };
    port.subscribe(&asked(&["events.#"]), limits, Overflow::DropOldest, waker())
        .unwrap()
}

fn publish(port: &Port) -> Published {
    let (event, waker) = (process(1, None), waker());
    let caller = Caller {
        waker: Some(&waker),
        flushes: false,
    };
    let object = |sequence: u64| -> Object { Arc::new(sequence) };
    with_draft(NEW, 1, Payload::Event(&event), |draft| {
        port.publish(draft, object, caller)
    })
    .unwrap()
    .0
}

/// Until one waits.
fn fill(port: &Port) -> PendingPublish {
    loop {
        if let Published::Wait(pending) = publish(port) {
            return pending;
        }
    }
}

/// (published, delivered, lost for that reason), and nothing is lost for another.
fn account(statistics: &BrokerStatistics, reason: &str) -> (u64, u64, u64) {
    let lost = statistics.dropped[reason];
    assert_eq!(statistics.dropped.values().sum::<u64>(), lost, "{statistics:?}");
    (
        statistics.bus.messages_published,
        statistics.bus.messages_delivered,
        lost,
    )
}

fn drained(subscription: &LocalSubscription) -> u64 {
    std::iter::from_fn(|| subscription.queue.pop().ok()).count() as u64
}

#[test]
fn what_waits_for_a_subscription_that_closes_is_lost_as_closed() {
    guarded(|| {
        let bus = bus();
        let port = port(&bus);
        let (small, roomy) = (subscribe(&port, 3), subscribe(&port, 100));
        let pending = fill(&port);
        small.close();
        assert!(matches!(port.resume(pending, &waker()), Ok(Published::Done)));
        assert_eq!(account(&bus.broker.statistics(), "closed"), (4, 4, 4));
        assert_eq!((small.queue.snapshot().lost(), roomy.queue.snapshot().lost()), (4, 0));
        // So is what nobody else has, and what is given up then.
        roomy.close();
        let alone = subscribe(&port, 1);
        let pending = fill(&port);
        alone.close();
        assert!(matches!(port.resume(pending, &waker()), Ok(Published::Done)));
        assert_eq!(account(&bus.broker.statistics(), "closed"), (6, 0, 10));
        let (small, _roomy) = (subscribe(&port, 1), subscribe(&port, 100));
        let pending = fill(&port);
        small.close();
        assert!(pending.give_up());
        let statistics = bus.broker.statistics();
        let (closed, vain) = (statistics.dropped["closed"], statistics.dropped["overflow"]);
        assert_eq!((statistics.bus.messages_delivered, closed, vain), (2, 11, 1));
        assert_eq!(small.queue.snapshot().lost(), 2);
        // The numbers of a bus that is gone stand.
        port.close();
        assert_eq!(bus.broker.statistics().dropped.values().sum::<u64>(), 14);
    });
}

#[test]
fn what_waits_in_process_when_the_broker_ends_is_published_and_lost_or_neither() {
    guarded(|| {
        // Nobody has it: it raises as the next would, and was never there.
        let bus = bus();
        let port = port(&bus);
        let small = subscribe(&port, 3);
        let pending = fill(&port);
        assert_eq!(shut_down(&bus.broker, Duration::from_millis(200)).messages, 0);
        assert!(matches!(port.resume(pending, &waker()), Err(Error::Lifecycle(_))));
        assert_eq!(account(&bus.broker.statistics(), "closed"), (3, 3, 0));
        assert_eq!((drained(&small), port.published()), (3, 3));
    });
    guarded(|| {
        // One has it, and the others do not.
        let bus = bus();
        let port = port(&bus);
        let readers = [3, 100, 3].map(|messages| subscribe(&port, messages));
        let pending = fill(&port);
        assert_eq!(pending.readers(), 2);
        assert_eq!(shut_down(&bus.broker, Duration::from_millis(200)).messages, 2);
        assert!(matches!(port.resume(pending, &waker()), Ok(Published::Done)));
        assert_eq!(account(&bus.broker.statistics(), "closed"), (4, 10, 2));
        assert_eq!(readers.each_ref().map(drained), [3, 4, 3]);
        assert_eq!((readers[0].queue.snapshot().lost(), port.published()), (1, 4));
    });
}

#[test]
fn what_waits_for_a_connection_that_breaks_is_lost_as_disconnected() {
    guarded(|| {
        let bus = bus();
        let port = port(&bus);
        let _here = subscribe(&port, 1 << 16);
        let (mut reader, _) = bus.connect_with(r#","queue_messages":5"#);
        reader.subscribe(1, &["events.#"]);
        let pending = fill(&port);
        drop(reader);
        bus.settled(|statistics| statistics.connections == 0);
        assert!(matches!(port.resume(pending, &waker()), Ok(Published::Done)));
        let (published, delivered, lost) = account(&bus.broker.statistics(), "disconnected");
        assert_eq!(delivered + lost, 2 * published);
        assert!(lost >= 6);
    });
}

/// A hundred messages of this process fill the queue of the reader, and four more wait for it.
fn waits_behind_a_hundred(bus: &Bus, port: &Port) -> (LocalSubscription, Client) {
    let reader = subscribe(port, 100);
    drop(fill(port));
    let (mut publisher, _) = bus.connect_with(r#","congestion":"block""#);
    publisher.send(
        &(0..4)
            .flat_map(|number| frame_of(NEW, number, 1000))
            .collect::<Vec<_>>(),
    );
    bus.settled(|statistics| statistics.bus.messages_published == 104);
    (reader, publisher)
}

fn has_the_hundred(reader: &LocalSubscription) {
    for number in 0..100_u64 {
        match reader.queue.pop().unwrap().content {
            Content::Object(object, _) => assert_eq!(object.downcast_ref(), Some(&number)),
            Content::Frames(_) => panic!("what waited took the place of {number}"),
        }
    }
    assert_eq!(drained(reader), 0);
}

#[test]
fn a_publisher_that_is_ended_while_it_waits_costs_others_nothing() {
    guarded(|| {
        let bus = bus();
        let port = port(&bus);
        let (reader, _publisher) = waits_behind_a_hundred(&bus, &port);
        let clients = bus.broker.clients();
        let waits = clients.iter().find(|client| client.kind == ClientKind::Native).unwrap();
        assert!(bus.broker.disconnect_client(waits.id));
        bus.settled(|statistics| statistics.connections == 0);
        assert_eq!(account(&bus.broker.statistics(), "overflow"), (104, 100, 4));
        has_the_hundred(&reader);
    });
}

#[test]
fn a_publisher_that_waits_when_the_broker_ends_costs_others_nothing() {
    guarded(|| {
        let bus = bus();
        let port = port(&bus);
        let (reader, _publisher) = waits_behind_a_hundred(&bus, &port);
        assert_eq!(shut_down(&bus.broker, Duration::from_millis(200)).messages, 4);
        assert_eq!(account(&bus.broker.statistics(), "overflow"), (104, 100, 4));
        has_the_hundred(&reader);
    });
}
