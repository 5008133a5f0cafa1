//! What a bus of the broker's own process publishes for readers behind sockets, gathered or not: each reader gets what it asked for, all of
//! it, in the order in which everybody published.

use std::sync::Arc;

use daemoneye_eventbus_core::broker::{BrokerConfig, Caller, LocalSubscription, Port, PortOptions, Published};
use daemoneye_eventbus_core::event::Timestamp;
use daemoneye_eventbus_core::queue::{Content, Limits, Object, Overflow, Wake};
use daemoneye_eventbus_core::wire::text::{Congestion, FromBroker};
use daemoneye_eventbus_core::wire::{self, Dialect, Payload};
use proptest::prelude::*;

use crate::support::{Bus, Client, Frame, Nobody, asked, guarded, process, with_draft};

/// Of an event's text: those that gather, one that is too large for it, and one that is too large for a reader as well.
const SIZES: [usize; 4] = [0, 300, 5_000, 9_000];
const SMALLEST_MAX_FRAME: usize = 8_192;
const TOPICS: [&str; 3] = ["events.process.new", "events.process.end", "events.network.new"];

#[derive(Debug, Clone)]
enum Step {
    Publish {
        port: usize,
        topic: usize,
        size: usize,
    },
    /// From another thread than the loop's: it is not flushed at the end of a turn.
    PublishElsewhere {
        port: usize,
        topic: usize,
    },
    PublishOverSocket {
        topic: usize,
    },
    EndTurn {
        port: usize,
    },
    Subscribe,
    Unsubscribe,
    SubscribeHere,
    UnsubscribeHere,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (port, topic) = (0..2_usize, 0..TOPICS.len());
    let step = prop_oneof![
        20 => (port.clone(), topic.clone(), 0..SIZES.len()).prop_map(|(port, topic, size)| Step::Publish { port, topic, size }),
        2 => (port.clone(), topic.clone()).prop_map(|(port, topic)| Step::PublishElsewhere { port, topic }),
        1 => topic.prop_map(|topic| Step::PublishOverSocket { topic }),
        2 => port.prop_map(|port| Step::EndTurn { port }),
        1 => Just(Step::Subscribe),
        1 => Just(Step::Unsubscribe),
        1 => Just(Step::SubscribeHere),
        1 => Just(Step::UnsubscribeHere),
    ];
    prop::collection::vec(step, 1..200)
}

/// A reader, what it has got, and what it should have.
struct Reader {
    client: Client,
    dialect: Dialect,
    topics: &'static [usize],
    pids: std::ops::Range<u32>,
    max_frame: usize,
    subscribed: bool,
    got: Vec<u128>,
    lost: u64,
    expected: Vec<u128>,
    expected_lost: u64,
}

impl Reader {
    fn new(bus: &Bus, dialect: Dialect, max_frame: usize) -> Self {
        let mut client = bus.dial();
        let dialect_name = dialect.name();
        client.text(&format!(
            r#"CONNECT {{"protocol":1,"client":"test","dialect":"{dialect_name}","max_frame":{max_frame}}}"#
        ));
        assert!(matches!(client.next(), Frame::Text(FromBroker::Info(_))));
        Self {
            client,
            dialect,
            topics: &[0, 1, 2],
            pids: 0..2,
            max_frame,
            subscribed: false,
            got: Vec::new(),
            lost: 0,
            expected: Vec::new(),
            expected_lost: 0,
        }
    }

    /// Says `text` and reads on until that is answered.
    fn ask(&mut self, text: &str) {
        self.client.text(text);
        loop {
            match self.client.next() {
                Frame::Message(frame) => {
                    let (message, _) = wire::read(self.dialect, &frame[4..]).unwrap();
                    self.got.push(message.id.as_u128());
                }
                Frame::Text(FromBroker::Dropped(dropped)) => self.lost += dropped.subscriptions.values().sum::<u64>(),
                Frame::Text(FromBroker::Ok(_) | FromBroker::Pong) => return,
                other => panic!("expected an answer, got {other:?}"),
            }
        }
    }

    fn subscribe(&mut self, options: &str) {
        let patterns: Vec<&str> = self.topics.iter().map(|topic| TOPICS[*topic]).collect();
        self.ask(&format!(r#"SUB {{"id":1,"topic_patterns":{patterns:?}{options}}}"#));
        self.subscribed = true;
    }

    fn expects(&mut self, number: u128, topic: usize, pid: u32, size: usize) {
        if !self.subscribed || !self.topics.contains(&topic) || !self.pids.contains(&pid) {
            return;
        }
        if size > self.max_frame {
            self.expected_lost += 1;
        } else {
            self.expected.push(number);
        }
    }
}

struct World {
    bus: Bus,
    ports: [Port; 2],
    wakers: [Option<Arc<dyn Wake>>; 2],
    collector: Client,
    /// The last of them comes and goes.
    readers: Vec<Reader>,
    /// A reader of this process, who comes and goes, and the events that it should get.
    here: Option<(LocalSubscription, Vec<u128>)>,
    published: u128,
    began: Timestamp,
}

impl World {
    /// `mixed`: with readers for whom each event must be looked at, or written anew.
    fn new(mixed: bool) -> Self {
        let bus = Bus::with(BrokerConfig::default());
        let port = |congestion| {
            let name = "local".to_owned();
            bus.broker.port(PortOptions { name, congestion }).unwrap()
        };
        let all = || Reader::new(&bus, Dialect::Bincode, 1 << 20);
        let mut readers = vec![
            all(),
            Reader {
                topics: &[0, 1],
                ..all()
            },
            Reader::new(&bus, Dialect::Bincode, SMALLEST_MAX_FRAME),
        ];
        if mixed {
            readers.push(Reader { pids: 1..2, ..all() });
            readers.push(Reader::new(&bus, Dialect::Postcard, 1 << 20));
        }
        for reader in &mut readers {
            let odd_only = reader.pids.start > 0;
            reader.subscribe(if odd_only {
                r#","event_filter":{"pids":[1]}"#
            } else {
                ""
            });
        }
        readers.push(Reader { topics: &[1], ..all() });
        Self {
            ports: [port(Congestion::Drop), port(Congestion::Block)],
            wakers: [None, Some(Arc::new(Nobody))],
            collector: bus.connect(),
            readers,
            here: None,
            published: 0,
            began: Timestamp::now(),
            bus,
        }
    }

    fn note(&mut self, topic: usize, pid: u32, size: usize) {
        for reader in &mut self.readers {
            reader.expects(self.published, topic, pid, size);
        }
        if let Some((_, expected)) = &mut self.here {
            expected.push(self.published);
        }
        self.published += 1;
    }

    fn publish(&mut self, port: usize, topic: usize, size: usize, flushes: bool) {
        let (pid, text) = (u32::try_from(self.published % 2).unwrap(), "x".repeat(size));
        let event = process(pid, Some(&text));
        let caller = Caller {
            waker: self.wakers[port].as_ref(),
            flushes,
        };
        let number = u64::try_from(self.published).unwrap();
        let (published, size) = with_draft(TOPICS[topic], number, Payload::Event(&event), |draft| {
            // However long the test takes, they seem to follow each other at once.
            draft.timestamp = self.began;
            self.ports[port]
                .publish(draft, |_| -> Object { Arc::new(u128::from(number)) }, caller)
                .unwrap()
        });
        assert!(!matches!(published, Published::Wait(_)), "{published:?}");
        self.note(topic, pid, size - 4);
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Publish { port, topic, size } => self.publish(port, topic, SIZES[size], true),
            Step::PublishElsewhere { port, topic } => self.publish(port, topic, 10, false),
            Step::PublishOverSocket { topic } => {
                let number = u64::try_from(self.published).unwrap();
                let event = process(1, None);
                let frame = with_draft(TOPICS[topic], number, Payload::Event(&event), |draft| {
                    let mut frame = Vec::new();
                    wire::write(Dialect::Bincode, draft, 2 << 20, 8, &mut frame).unwrap();
                    frame
                });
                self.collector.send(&frame);
                self.collector.flush();
                self.note(topic, 1, frame.len() - 4);
            }
            Step::EndTurn { port } => {
                self.ports[port].end_turn();
            }
            Step::Subscribe => self.toggle(true),
            Step::Unsubscribe => self.toggle(false),
            Step::SubscribeHere => {
                self.leave_here();
                let asked = asked(&["events.#"]);
                let limits = Limits {
                    messages: 65_536,
                    bytes: 8 << 20,
                };
                let subscribed = self.ports[0].subscribe(&asked, limits, Overflow::DropOldest, Arc::new(Nobody));
                self.here = Some((subscribed.unwrap(), Vec::new()));
            }
            Step::UnsubscribeHere => self.leave_here(),
        }
    }

    fn toggle(&mut self, on: bool) {
        let reader = self.readers.last_mut().unwrap();
        if on == reader.subscribed {
            return;
        }
        if on {
            reader.subscribe("");
        } else {
            reader.ask(r#"UNSUB {"id":1}"#);
        }
        reader.subscribed = on;
    }

    fn leave_here(&mut self) {
        let Some((subscription, expected)) = self.here.take() else {
            return;
        };
        let got: Vec<u128> = std::iter::from_fn(|| subscription.queue.pop().ok())
            .map(|popped| match popped.content {
                Content::Object(object, _) => *object.downcast::<u128>().unwrap(),
                Content::Frames(frame) => wire::read(Dialect::Bincode, &frame[4..]).unwrap().0.id.as_u128(),
            })
            .collect();
        assert_eq!(got, expected);
    }

    fn check(mut self) {
        self.leave_here();
        for port in &self.ports {
            port.flush();
        }
        for reader in &mut self.readers {
            reader.ask("PING");
            assert_eq!(reader.got, reader.expected);
            assert_eq!(reader.lost, reader.expected_lost);
        }
        let statistics = self.bus.broker.statistics();
        assert_eq!(u128::from(statistics.bus.messages_published), self.published);
        assert_eq!(statistics.queued_messages, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn everybody_gets_everything_in_the_order_in_which_it_was_published(steps in steps(), mixed in any::<bool>()) {
        guarded(move || {
            let mut world = World::new(mixed);
            for step in &steps {
                world.take(step);
            }
            world.check();
        });
    }
}
