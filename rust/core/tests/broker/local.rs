//! Buses of the broker's own process, with each other and with those behind sockets.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use daemoneye_eventbus_core::Error;
use daemoneye_eventbus_core::broker::{
    Broker, BrokerConfig, Caller, ClientKind, LocalSubscription, Port, PortOptions, Published,
};
use daemoneye_eventbus_core::event::EventFilter;
use daemoneye_eventbus_core::queue::{Content, Limits, Object, Overflow, PopError, Wake};
use daemoneye_eventbus_core::wire::Payload;
use daemoneye_eventbus_core::wire::text::Congestion;

use crate::support::{Bus, NEW, asked, frame, guarded, process, sequence, shut_down, with_draft};

#[derive(Default)]
struct TestWaker {
    wakes: AtomicUsize,
    wait: (Mutex<bool>, Condvar),
}

impl Wake for TestWaker {
    fn wake(&self) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        *self.wait.0.lock().unwrap() = true;
        self.wait.1.notify_all();
    }
}

impl TestWaker {
    fn wait(&self, deadline: Instant) {
        let woken = self.wait.0.lock().unwrap();
        let timeout = deadline.saturating_duration_since(Instant::now());
        *self
            .wait
            .1
            .wait_timeout_while(woken, timeout, |woken| !*woken)
            .unwrap()
            .0 = false;
    }
}

fn port(bus: &Bus, congestion: Congestion) -> Port {
    let name = "local".to_owned();
    bus.broker.port(PortOptions { name, congestion }).unwrap()
}

fn subscribe(port: &Port, messages: usize, overflow: Overflow) -> LocalSubscription {
    let limits = Limits {
        messages,
        bytes: 1 << 20,
    };
    port.subscribe(&asked(&["events.#"]), limits, overflow, Arc::new(TestWaker::default()))
        .unwrap()
}

fn publish(port: &Port, number: u64, waker: Option<&Arc<dyn Wake>>) -> daemoneye_eventbus_core::Result<Published> {
    publish_as(port, number, waker, |_| number)
}

/// An event of the process `pid`, as an object that is the number which `object` makes of the sequence.
fn publish_as(
    port: &Port,
    pid: u64,
    waker: Option<&Arc<dyn Wake>>,
    object: impl FnOnce(u64) -> u64,
) -> daemoneye_eventbus_core::Result<Published> {
    let event = process(u32::try_from(pid).unwrap(), None);
    with_draft(NEW, pid, Payload::Event(&event), |draft| {
        let object = |sequence| -> Object { Arc::new(object(sequence)) };
        let caller = Caller { waker, flushes: false };
        port.publish(draft, object, caller).map(|(published, _)| published)
    })
}

/// The number of the next message, and how many were lost before it.
fn pop(subscription: &LocalSubscription) -> Option<(u64, u64)> {
    match subscription.queue.pop() {
        Ok(popped) => match popped.content {
            Content::Object(object, _) => Some((*object.downcast_ref::<u64>().unwrap(), popped.dropped_before)),
            Content::Frames(bytes) => Some((sequence(&bytes), popped.dropped_before)),
        },
        Err(_) => None,
    }
}

#[test]
fn objects_stay_objects_here_and_become_frames_there() {
    guarded(|| {
        let bus = Bus::new();
        let mut remote = bus.connect();
        remote.subscribe(1, &["events.#"]);
        let port = port(&bus, Congestion::Drop);
        let here = subscribe(&port, 10, Overflow::DropOldest);
        for number in 0..5 {
            assert!(matches!(publish(&port, number, None), Ok(Published::Done)));
        }
        for number in 0..5 {
            assert_eq!(pop(&here), Some((number, 0)));
            assert_eq!(sequence(&remote.message()), number);
        }
        remote.send(&frame(NEW, 5));
        remote.message();
        let start = Instant::now();
        while pop(&here) != Some((5, 0)) {
            assert!(start.elapsed() < Duration::from_secs(5));
        }
        let statistics = bus.broker.statistics();
        assert_eq!(
            (statistics.bus.messages_published, statistics.bus.messages_delivered),
            (6, 12)
        );
        assert_eq!(statistics.bus.active_subscribers, 2);
        let local = bus
            .broker
            .clients()
            .into_iter()
            .find(|client| client.kind == ClientKind::Local)
            .unwrap();
        assert_eq!((local.delivered, local.subscriptions, local.id), (6, 1, port.id()));
    });
}

#[test]
fn a_full_queue_drops_by_its_policy_or_makes_wait() {
    guarded(|| {
        let bus = Bus::new();
        let dropping = port(&bus, Congestion::Drop);
        let blocking = port(&bus, Congestion::Block);
        let oldest = subscribe(&dropping, 3, Overflow::DropOldest);
        for number in 0..5 {
            publish(&dropping, number, None).unwrap();
        }
        assert_eq!((pop(&oldest), pop(&oldest)), (Some((2, 2)), Some((3, 0))));
        oldest.close();
        let roomy = subscribe(&blocking, 100, Overflow::DropOldest);
        let small = subscribe(&blocking, 3, Overflow::DropOldest);
        for number in 0..3 {
            publish(&blocking, number, None).unwrap();
        }
        // Nobody has got what would have to wait.
        assert_eq!(
            publish(&blocking, 3, None).unwrap_err(),
            Error::WouldBlock("publish_nowait")
        );
        assert_eq!(
            (roomy.queue.snapshot().messages, small.queue.snapshot().messages),
            (3, 3)
        );
        let test_waker = Arc::new(TestWaker::default());
        let waker: Arc<dyn Wake> = Arc::clone(&test_waker) as _;
        let Ok(Published::Wait(waiting)) = publish(&blocking, 3, Some(&waker)) else {
            panic!("did not wait")
        };
        assert_eq!((roomy.queue.snapshot().messages, waiting.readers()), (4, 1));
        assert_eq!((pop(&small), pop(&small)), (Some((0, 0)), Some((1, 0))));
        test_waker.wait(waiting.retry_at());
        assert!(matches!(blocking.resume(waiting, &waker), Ok(Published::Done)));
        assert_eq!(
            (pop(&small), pop(&small), pop(&small)),
            (Some((2, 0)), Some((3, 0)), None)
        );
    });
}

/// Counted when the first reader has it, and never again; who is given up is told only of what somebody else has.
#[test]
fn a_publish_that_waits_counts_once() {
    guarded(|| {
        let bus = Bus::new();
        let port = port(&bus, Congestion::Block);
        let readers = [(); 2].map(|()| subscribe(&port, 1, Overflow::DropOldest));
        let waker: Arc<dyn Wake> = Arc::new(TestWaker::default());
        let counted = || {
            let published = bus.broker.statistics().bus.messages_published;
            let lost = readers
                .iter()
                .map(|reader| reader.queue.snapshot().dropped.iter().sum::<u64>());
            (published, lost.sum::<u64>())
        };
        let wait = |published| match published {
            Published::Wait(waiting) => waiting,
            Published::Done | Published::HeldBack => panic!("did not wait"),
        };
        let begin = |number| wait(publish(&port, number, Some(&waker)).unwrap());
        publish(&port, 0, None).unwrap();
        assert_eq!(counted(), (1, 0));
        // Nobody has it.
        let waiting = wait(port.resume(begin(1), &waker).unwrap());
        assert_eq!((waiting.readers(), counted()), (2, (1, 0)));
        assert!(!waiting.give_up());
        assert_eq!(counted(), (1, 0));
        // First one has it, then both.
        let waiting = begin(2);
        assert_eq!(pop(&readers[0]), Some((0, 0)));
        let waiting = wait(port.resume(waiting, &waker).unwrap());
        assert_eq!((waiting.readers(), counted()), (1, (2, 0)));
        let waiting = wait(port.resume(waiting, &waker).unwrap());
        assert_eq!(pop(&readers[1]), Some((0, 0)));
        assert!(matches!(port.resume(waiting, &waker), Ok(Published::Done)));
        assert_eq!(counted(), (2, 0));
        // One has it, and the other is given up.
        assert_eq!(pop(&readers[0]), Some((2, 0)));
        let waiting = begin(3);
        assert_eq!((waiting.readers(), counted()), (1, (3, 0)));
        assert!(waiting.give_up());
        assert_eq!(counted(), (3, 1));
        assert_eq!((pop(&readers[0]), pop(&readers[1])), (Some((3, 0)), Some((2, 0))));
    });
}

#[test]
fn a_publish_that_nobody_has_takes_no_sequence() {
    guarded(|| {
        let bus = Bus::new();
        let port = port(&bus, Congestion::Block);
        let readers = [(); 2].map(|()| subscribe(&port, 1, Overflow::DropOldest));
        let waker: Arc<dyn Wake> = Arc::new(TestWaker::default());
        let begin = || match publish_as(&port, 1, Some(&waker), |sequence| sequence).unwrap() {
            Published::Wait(waiting) => Some(waiting),
            Published::Done | Published::HeldBack => None,
        };
        let pop = |reader: usize| pop(&readers[reader]).unwrap().0;
        assert!(begin().is_none());
        for _ in 0..3 {
            assert!(!begin().expect("full").give_up());
            assert!(matches!(
                publish_as(&port, 1, None, |_| panic!("no room")),
                Err(Error::WouldBlock(_))
            ));
        }
        assert_eq!((pop(0), pop(1)), (0, 0));
        assert!(begin().is_none());
        // One reader has this one, so its number is gone.
        assert_eq!(pop(0), 1);
        assert!(begin().expect("full").give_up());
        assert_eq!((pop(0), pop(1)), (2, 1));
        assert!(begin().is_none());
        assert_eq!((pop(0), pop(1)), (3, 3));
        // Of two that wait nobody has the second either, but the first had the number before.
        assert!(begin().is_none());
        let (first, second) = (begin().expect("full"), begin().expect("full"));
        assert_eq!((pop(0), pop(1)), (4, 4));
        assert!(matches!(port.resume(first, &waker), Ok(Published::Done)));
        drop(second);
        assert_eq!((pop(0), pop(1)), (5, 5));
        assert!(begin().is_none());
        assert_eq!((pop(0), pop(1)), (6, 6));
        // Of two that give up, in the order in which they came, neither was ever there.
        assert!(begin().is_none());
        let (first, second) = (begin().expect("full"), begin().expect("full"));
        drop(first);
        drop(second);
        assert_eq!((pop(0), pop(1)), (7, 7));
        assert!(begin().is_none());
        assert_eq!((pop(0), pop(1)), (8, 8));
    });
}

#[test]
fn a_local_reader_that_takes_nothing_is_not_waited_for() {
    guarded(|| {
        let bus = Bus::with(BrokerConfig {
            stall_timeout: Duration::from_millis(200),
            ..BrokerConfig::default()
        });
        let port = port(&bus, Congestion::Block);
        let small = subscribe(&port, 2, Overflow::DropNewest);
        let test_waker = Arc::new(TestWaker::default());
        let waker: Arc<dyn Wake> = Arc::clone(&test_waker) as _;
        let start = Instant::now();
        for number in 0..50 {
            let mut published = publish(&port, number, Some(&waker)).unwrap();
            while let Published::Wait(waiting) = published {
                test_waker.wait(waiting.retry_at());
                published = port.resume(waiting, &waker).unwrap();
            }
        }
        let took = start.elapsed();
        assert!(
            took >= Duration::from_millis(190) && took < Duration::from_secs(2),
            "{took:?}"
        );
        let snapshot = small.queue.snapshot();
        assert_eq!((snapshot.pending, snapshot.dropped[0]), (2, 48));
        let statistics = bus.broker.statistics();
        assert_eq!(statistics.bus.messages_delivered + statistics.dropped["overflow"], 50);
    });
}

#[test]
fn who_waits_for_what_all_queues_hold_together_goes_on_when_another_is_read() {
    guarded(|| {
        let bus = Bus::with(BrokerConfig {
            total_queue_bytes: 4000,
            ..BrokerConfig::default()
        });
        let port = port(&bus, Congestion::Block);
        let readers = [1, 2].map(|pid| {
            let mut asked = asked(&["events.#"]);
            asked.event_filter = Some(EventFilter {
                pids: vec![pid],
                ..EventFilter::default()
            });
            let limits = Limits {
                messages: 1000,
                bytes: 1 << 20,
            };
            port.subscribe(&asked, limits, Overflow::DropOldest, Arc::new(TestWaker::default()))
                .unwrap()
        });
        let test_waker = Arc::new(TestWaker::default());
        let waker: Arc<dyn Wake> = Arc::clone(&test_waker) as _;
        let fill = |pid, waker: &Arc<dyn Wake>| loop {
            if let Published::Wait(waiting) = publish(&port, pid, Some(waker)).unwrap() {
                return waiting;
            }
        };
        drop(fill(1, &(Arc::new(TestWaker::default()) as _)));
        // An empty queue takes one all the same.
        let mut waiting = fill(2, &waker);
        assert_eq!(readers[1].queue.snapshot().messages, 1);
        while pop(&readers[0]).is_some() {}
        let read = Instant::now();
        loop {
            test_waker.wait(waiting.retry_at());
            match port.resume(waiting, &waker).unwrap() {
                Published::Wait(left) => waiting = left,
                Published::Done | Published::HeldBack => break,
            }
        }
        let took = read.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert_eq!(readers[1].queue.snapshot().messages, 2);
    });
}

#[test]
fn filters_hold_for_objects_too() {
    guarded(|| {
        let bus = Bus::new();
        let port = port(&bus, Congestion::Drop);
        let mut asked = asked(&["events.#"]);
        asked.event_filter = Some(EventFilter {
            pids: vec![2],
            ..EventFilter::default()
        });
        let limits = Limits {
            messages: 10,
            bytes: 1 << 20,
        };
        let here = port
            .subscribe(&asked, limits, Overflow::DropOldest, Arc::new(TestWaker::default()))
            .unwrap();
        for number in 0..4 {
            publish(&port, number, None).unwrap();
        }
        assert_eq!((pop(&here), pop(&here)), (Some((2, 0)), None));
        assert_eq!(bus.broker.statistics().bus.messages_delivered, 1);
    });
}

#[test]
fn closing_and_stopping_end_the_iteration() {
    guarded(|| {
        let bus = Bus::new();
        let one = port(&bus, Congestion::Drop);
        let two = port(&bus, Congestion::Drop);
        let closed = subscribe(&one, 10, Overflow::DropOldest);
        let stopped = subscribe(&two, 10, Overflow::DropOldest);
        publish(&one, 1, None).unwrap();
        one.close();
        assert_eq!(closed.queue.pop().unwrap_err(), PopError::Ended);
        assert!(matches!(publish(&one, 2, None), Err(Error::Lifecycle(_))));
        assert_eq!(bus.broker.statistics().dropped["closed"], 1);
        shut_down(&bus.broker, Duration::from_secs(1));
        assert_eq!(pop(&stopped), Some((1, 0)));
        assert_eq!(stopped.queue.pop().unwrap_err(), PopError::Ended);
        assert!(matches!(publish(&two, 3, None), Err(Error::Lifecycle(_))));
        drop(stopped);
        drop(two);
        let statistics = bus.broker.statistics();
        assert_eq!(
            (statistics.bus.active_subscribers, statistics.bus.messages_delivered),
            (0, 1)
        );
        let fresh = Broker::new(bus.address.clone(), BrokerConfig::default()).unwrap();
        assert!(matches!(fresh.port(PortOptions::default()), Err(Error::Lifecycle(_))));
    });
}

#[test]
fn many_threads_publish_while_subscriptions_change() {
    guarded(|| {
        let bus = Bus::new();
        let port = Arc::new(port(&bus, Congestion::Drop));
        let reader = subscribe(&port, 1 << 20, Overflow::DropOldest);
        let mut remote = bus.connect();
        remote.subscribe(1, &["events.process.*"]);
        let publishers: Vec<_> = (0..3)
            .map(|_| {
                let port = Arc::clone(&port);
                std::thread::spawn(move || (0..3000).for_each(|number| drop(publish(&port, number, None).unwrap())))
            })
            .collect();
        let reading = std::thread::spawn(move || remote.drain(9000));
        let mut changing = bus.connect();
        for id in 0..200 {
            changing.text(&format!(r#"SUB {{"id":{id},"topic_patterns":["events.process.new"]}}"#));
            changing.text(&format!(r#"UNSUB {{"id":{id}}}"#));
        }
        changing.flush_all();
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
        let (got, lost) = reading.join().unwrap();
        assert!(got.len() == 9000 && lost.is_empty());
        let mut count = 0;
        while pop(&reader).is_some() {
            count += 1;
        }
        assert_eq!(count, 9000);
        changing.flush_all();
        let statistics = bus.broker.statistics();
        assert_eq!((statistics.bus.messages_published, statistics.pending), (9000, 0));
        assert!(statistics.dropped.values().all(|dropped| *dropped == 0));
    });
}

#[test]
fn whoever_subscribes_while_the_bus_is_closed_has_no_bus_or_an_end() {
    guarded(|| {
        let bus = Bus::new();
        for _ in 0..100 {
            let port = port(&bus, Congestion::Drop);
            let subscribe = || {
                let limits = Limits {
                    messages: 10,
                    bytes: 1 << 20,
                };
                let reader = Arc::new(TestWaker::default());
                port.subscribe(&asked(&["events.#"]), limits, Overflow::DropOldest, reader)
            };
            let subscribed: Vec<_> = std::thread::scope(|scope| {
                let until_refused = || {
                    std::iter::repeat_with(subscribe)
                        .map_while(Result::ok)
                        .collect::<Vec<_>>()
                };
                let threads: Vec<_> = (0..3).map(|_| scope.spawn(until_refused)).collect();
                std::thread::sleep(Duration::from_micros(200));
                port.close();
                threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
            });
            for subscription in &subscribed {
                assert_eq!(subscription.queue.pop().unwrap_err(), PopError::Ended);
            }
            assert_eq!(bus.broker.statistics().bus.active_subscribers, 0);
        }
    });
}
