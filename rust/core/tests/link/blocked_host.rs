//! A host that stands still, or is gone, with a full kernel before it.

use std::sync::Arc;

use daemoneye_eventbus_core::client::{ClientConfig, Link, Reader, Sent, State};
use daemoneye_eventbus_core::queue::Wake;

use crate::support::{ScriptedBroker, TestWaker, greet, with_draft};

#[test]
fn what_a_stuck_host_waited_to_write_is_written() {
    let broker = ScriptedBroker::new();
    let waker = Arc::new(TestWaker::default());
    let host: Arc<dyn Wake> = Arc::<TestWaker>::clone(&waker);
    let config = ClientConfig {
        send_buffer_bytes: 65_536,
        ..ClientConfig::default()
    };
    let link = Link::open(broker.place.address.clone(), config, Reader::Host, host).unwrap();
    let client = greet(&broker, 0.2);
    waker.until("connected", || link.state() == State::Connected);
    loop {
        match with_draft(1, |draft| link.publish(draft, None).unwrap().0) {
            Sent::Full => break,
            Sent::Buffered => {
                link.flush();
            }
            Sent::Written | Sent::Blocked | Sent::Waiting => {}
        }
    }
    let published = link.local_statistics().published;
    assert!(link.local_statistics().unsent > 0);
    while link.local_statistics().unsent > 0 {
        broker.read(&client, 1);
    }
    assert_eq!(link.local_statistics().published, published);
}
