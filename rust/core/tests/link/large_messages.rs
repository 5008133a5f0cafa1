//! Messages that take more than one read.

use std::sync::Arc;

use daemoneye_eventbus_core::client::{ClientConfig, Link, Reader, State, Ticket};
use daemoneye_eventbus_core::queue::Wake;
use daemoneye_eventbus_core::wire::{self, Dialect};

use crate::support::{ScriptedBroker, TestWaker, frames, greet, inbox, ok_frame, with_draft_of};

/// Of the names: below, around and above what is read at once, and what is allowed.
const SIZES: [usize; 14] = [
    1, 2, 3, 300_000, 4, 261_900, 600_000, 1_048_000, 5, 200_000, 262_144, 6, 1_000_000, 7,
];

fn message(number: usize, size: usize) -> Vec<u8> {
    let name = char::from(b'a' + u8::try_from(number).unwrap())
        .to_string()
        .repeat(size);
    with_draft_of(u32::try_from(number).unwrap(), &name, |draft| {
        let mut frame = Vec::new();
        wire::write(Dialect::Bincode, draft, 1 << 20, 8, &mut frame).unwrap();
        frame
    })
}

/// The host's loop may have a read on its way when it is told to stop.
#[test]
fn they_arrive_whole_and_in_order_though_the_queue_is_full_and_the_host_reads_on() {
    let broker = ScriptedBroker::new();
    let waker = Arc::new(TestWaker::default());
    let host: Arc<dyn Wake> = Arc::<TestWaker>::clone(&waker);
    let config = ClientConfig::default();
    let link = Link::open(broker.place.address.clone(), config, Reader::Host, host).unwrap();
    let client = greet(&broker, 30.0);
    waker.until("connected", || link.state() == State::Connected);
    let inbox = inbox(&waker, &["events.#"], 2, true);
    let ticket = Ticket::new(Arc::<TestWaker>::clone(&waker) as _);
    let id = link.subscribe(Arc::clone(&inbox), ticket.clone()).unwrap();
    broker.send(&client, &ok_frame(id));
    waker.until("subscribed", || {
        link.on_readable();
        ticket.poll().is_some()
    });
    let sent: Vec<_> = SIZES
        .iter()
        .enumerate()
        .map(|(number, size)| message(number, *size))
        .collect();
    std::thread::scope(|scope| {
        scope.spawn(|| sent.iter().for_each(|message| broker.send(&client, message)));
        for message in &sent {
            waker.until("delivered", || {
                for _ in 0..50 {
                    link.on_readable();
                }
                if inbox.queue.is_empty() {
                    link.resume();
                }
                !inbox.queue.is_empty()
            });
            assert!(frames(&inbox, &waker, 1) == [&message[..]], "{} bytes", message.len());
        }
    });
    assert_eq!(inbox.queue.snapshot().lost(), 0);
}
