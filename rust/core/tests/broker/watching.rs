//! What a broker tells other processes of itself, as bytes.

use std::collections::BTreeSet;

use daemoneye_eventbus_core::broker::{BrokerConfig, PortOptions};
use daemoneye_eventbus_core::wire::frame::MAX_TEXT;
use daemoneye_eventbus_core::wire::text::{Client as Told, Code, FromBroker};
use uuid::Uuid;

use crate::support::{Bus, Client, NEW, frames, guarded};

fn page(client: &mut Client, id: u64, after: Option<Uuid>) -> (Vec<Told>, bool) {
    let after = after.map_or(String::new(), |after| format!(r#","after":"{after}""#));
    client.text(&format!(r#"STATS {{"id":{id},"clients":true{after}}}"#));
    let ok = client.ok();
    assert_eq!(ok.id, Some(id));
    assert!(FromBroker::Ok(ok.clone()).try_frame().is_ok(), "above {MAX_TEXT} bytes");
    (ok.clients.unwrap(), ok.more)
}

/// Everybody, page by page, and how many pages that were.
fn all(client: &mut Client) -> (Vec<Uuid>, u64) {
    let (mut seen, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let (clients, more) = page(client, pages, after);
        assert!(!clients.is_empty());
        seen.extend(clients.iter().map(|client| client.id));
        after = seen.last().copied();
        pages += 1;
        if !more {
            break;
        }
    }
    (seen, pages)
}

#[test]
fn the_detail_is_what_the_broker_says_itself() {
    guarded(|| {
        let bus = Bus::new();
        let mut reader = bus.connect();
        reader.subscribe(1, &["events.#"]);
        let mut client = bus.connect();
        client.send(&frames(NEW, 0..3));
        client.flush();
        client.text(r#"STATS {"id":7,"detail":true}"#);
        let ok = client.ok();
        let now = bus.broker.statistics();
        assert_eq!((ok.id, ok.statistics), (Some(7), Some(now.bus)));
        let detail = ok.detail.unwrap();
        assert_eq!((detail.connections, detail.queued_messages), (2, now.queued_messages));
        assert!(
            detail.dropped.is_empty() && detail.refused.is_empty(),
            "only what happened"
        );
        assert!(ok.clients.is_none() && !ok.more);
        let (clients, more) = page(&mut client, 8, None);
        assert!(!more);
        let published: Vec<_> = clients.iter().map(|client| client.published).collect();
        assert_eq!(published.iter().sum::<u64>(), 3);
        let ids: BTreeSet<_> = bus.broker.clients().iter().map(|client| client.id).collect();
        assert!(clients.iter().map(|client| client.id).eq(ids));
    });
}

#[test]
fn pages_hold_everybody_once_however_long_the_names_are() {
    guarded(|| {
        let bus = Bus::with(BrokerConfig {
            max_connections: 300,
            ..BrokerConfig::default()
        });
        // Six bytes of JSON for each byte of the longest name.
        let name = "\\u0001".repeat(256);
        let crowd: Vec<_> = (0..99)
            .map(|_| {
                let mut one = bus.dial();
                one.text(&format!(r#"CONNECT {{"protocol":1,"client":"{name}"}}"#));
                one.next();
                one
            })
            .collect();
        let mut client = bus.connect();
        let (seen, pages) = all(&mut client);
        assert!(pages > 3, "{pages} pages");
        assert!(seen.is_sorted());
        assert_eq!(seen.len(), crowd.len() + 1);
        assert!(page(&mut client, 1000, seen.last().copied()).0.is_empty());
    });
}

/// More than are looked at for one page.
#[test]
fn pages_hold_everybody_once_however_many_there_are() {
    guarded(|| {
        let bus = Bus::new();
        let crowd: Vec<_> = (0..600)
            .map(|_| bus.broker.port(PortOptions::default()).unwrap())
            .collect();
        let mut client = bus.connect();
        let (seen, pages) = all(&mut client);
        assert!(pages > 2, "{pages} pages");
        assert!(seen.is_sorted());
        assert_eq!(seen.len(), crowd.len() + 1);
    });
}

#[test]
fn unread_pages_stop_the_reading() {
    guarded(|| {
        let bus = Bus::new();
        let crowd: Vec<_> = (0..60).map(|_| bus.connect()).collect();
        let mut greedy = bus.connect();
        for id in 0..200 {
            greedy.text(&format!(r#"STATS {{"id":{id},"clients":true}}"#));
        }
        // Nothing is lost: all are answered, as fast as they are read.
        for id in 0..200 {
            assert_eq!(greedy.ok().id, Some(id));
        }
        drop(crowd);
    });
}

#[test]
fn a_page_after_nonsense_is_a_protocol_error() {
    guarded(|| {
        let bus = Bus::new();
        let mut client = bus.connect();
        client.text(r#"STATS {"id":1,"clients":true,"after":"x"}"#);
        client.cut(Code::Protocol);
    });
}
