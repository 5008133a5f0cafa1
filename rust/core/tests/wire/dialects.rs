//! One value in every dialect: there and back, and from one to another.

use daemoneye_eventbus_core::event::{
    CollectionEvent, CorrelationFilter, CorrelationMetadata, EventBusStatistics, EventFilter, EventSubscription, Map,
    SourceCaps, Text, TextMap, Timestamp,
};
use daemoneye_eventbus_core::wire::frame::PREFIX;
use daemoneye_eventbus_core::wire::{self, Dialect, Message};
use daemoneye_eventbus_core::{Error, broker::BrokerConfig, client::ClientConfig};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::random::{dialect, parts};
use crate::{DEPTH, MAX};

fn texts() -> impl Strategy<Value = Vec<Text>> {
    prop::collection::vec("\\PC{0,12}".prop_map(Text), 0..4)
}

fn pairs() -> impl Strategy<Value = TextMap> {
    prop::collection::vec(("\\PC{0,12}".prop_map(Text), "\\PC{0,12}".prop_map(Text)), 0..4).prop_map(TextMap)
}

fn capabilities() -> impl Strategy<Value = SourceCaps> {
    (texts(), texts(), any::<u8>()).prop_map(|(event_types, collectors, max_priority)| SourceCaps {
        event_types,
        collectors,
        max_priority,
    })
}

fn event_filter() -> impl Strategy<Value = EventFilter> {
    let pids = prop::collection::vec(any::<u32>(), 0..4);
    (texts(), pids, any::<Option<u8>>(), pairs(), texts(), texts()).prop_map(
        |(event_types, pids, min_priority, metadata_filters, topic_filters, source_collectors)| EventFilter {
            event_types,
            pids,
            min_priority,
            metadata_filters,
            topic_filters,
            source_collectors,
        },
    )
}

fn correlation_filter() -> impl Strategy<Value = CorrelationFilter> {
    let lists = [texts(), texts(), texts(), texts(), texts()];
    let bounds = (any::<Option<u64>>(), any::<Option<u64>>());
    (lists, pairs(), pairs(), bounds).prop_map(|(lists, required_tags, any_tags, (min_sequence, max_sequence))| {
        let [
            correlation_ids,
            correlation_patterns,
            parent_correlation_ids,
            root_correlation_ids,
            workflow_stages,
        ] = lists;
        CorrelationFilter {
            correlation_ids,
            correlation_patterns,
            parent_correlation_ids,
            root_correlation_ids,
            workflow_stages,
            required_tags,
            any_tags,
            min_sequence,
            max_sequence,
        }
    })
}

fn subscription() -> impl Strategy<Value = EventSubscription> {
    let filters = (prop::option::of(event_filter()), prop::option::of(correlation_filter()));
    let rest = (prop::option::of(texts()), any::<bool>(), any::<bool>());
    ("\\PC{0,12}", capabilities(), filters, rest).prop_map(
        |(
            id,
            capabilities,
            (event_filter, correlation_filter),
            (topic_patterns, enable_wildcards, include_control),
        )| {
            EventSubscription {
                subscriber_id: Text(id),
                capabilities,
                event_filter,
                correlation_filter,
                topic_patterns,
                enable_wildcards,
                include_control,
            }
        },
    )
}

/// Through every dialect of connections in turn, and back to the bytes of the first.
fn travels<T>(value: &T) -> Result<(), TestCaseError>
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    for dialect in Dialect::CONNECTIONS.iter().copied() {
        let mut bytes = b"kept".to_vec();
        dialect.encode(value, &mut bytes).unwrap();
        let bytes = &bytes[4..];
        prop_assert_eq!(dialect.encoded_len(value), Ok(bytes.len()));
        let read: T = dialect.decode(bytes).unwrap();
        prop_assert_eq!(&read, value);
        let longer = [bytes, &[0]].concat();
        let error = dialect.decode::<T>(&longer).unwrap_err();
        prop_assert_eq!((error.dialect, error.offset), (dialect.name(), bytes.len()));
        let cut = dialect.decode::<T>(&bytes[..bytes.len() - 1]).unwrap_err();
        prop_assert!(cut.offset < bytes.len());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_translated_frame_says_the_same_and_comes_back_unchanged(
        parts in parts(),
        from in dialect(),
        to in dialect(),
    ) {
        let event = parts.event();
        let mut frame = Vec::new();
        wire::write(from, &parts.draft(event.as_ref()), MAX, DEPTH, &mut frame).unwrap();
        let there = wire::translate(from, to, &frame[PREFIX..]).unwrap();
        let mut direct = Vec::new();
        wire::write(to, &parts.draft(event.as_ref()), MAX, DEPTH, &mut direct).unwrap();
        prop_assert!(there == direct);
        prop_assert!(wire::translate(to, from, &there[PREFIX..]).unwrap() == frame);
    }

    /// The first generation has one id where the others have metadata.
    #[test]
    fn the_first_generation_says_what_it_can(parts in parts()) {
        let v0 = Dialect::BincodeV0;
        let event = parts.event();
        let mut draft = parts.draft(event.as_ref());
        let whole = wire::encoded_len(v0, &draft, MAX, DEPTH);
        let id = draft.correlation_metadata.correlation_id;
        let forgotten = draft.correlation_metadata.created_at;
        draft.correlation_metadata = CorrelationMetadata {
            correlation_id: id,
            parent_correlation_id: None,
            root_correlation_id: id,
            sequence_number: 0,
            workflow_stage: None,
            correlation_tags: Map::default(),
            created_at: forgotten,
        };
        let mut frame = b"before".to_vec();
        let size = wire::write(v0, &draft, MAX, DEPTH, &mut frame).unwrap();
        prop_assert_eq!(wire::encoded_len(v0, &draft, MAX, DEPTH), Ok(size));
        prop_assert_eq!(frame.len(), 6 + size);
        // Nothing else has that length by dropping something silently.
        let refused = matches!(whole, Err(Error::Invalid { .. }));
        prop_assert!(refused || whole == Ok(size));

        let body = &frame[6 + PREFIX..];
        let (message, read) = wire::read(v0, body).unwrap();
        draft.correlation_metadata.created_at = Timestamp { secs: 0, nanos: 0 };
        prop_assert_eq!(&message.correlation_metadata, &draft.correlation_metadata);
        prop_assert_eq!((message.id, message.sequence, message.timestamp), (draft.id, draft.sequence, draft.timestamp));
        prop_assert_eq!(&read, &event);
        for other in Dialect::CONNECTIONS.iter().copied() {
            let there = wire::translate(v0, other, body).unwrap();
            prop_assert!(wire::translate(other, v0, &there[PREFIX..]).unwrap() == frame[6..]);
            prop_assert!(v0.decode::<Message<'_>>(&there[PREFIX..]).ok().as_ref() != Some(&message));
        }
    }

    #[test]
    fn what_is_asked_for_and_counted_travels_too(
        subscription in subscription(),
        capabilities in capabilities(),
        event_filter in event_filter(),
        correlation_filter in correlation_filter(),
        [messages_published, messages_delivered, active_subscribers, active_topics, uptime_seconds] in any::<[u64; 5]>(),
    ) {
        travels(&subscription)?;
        travels(&capabilities)?;
        travels(&event_filter)?;
        travels(&correlation_filter)?;
        travels(&EventBusStatistics {
            messages_published,
            messages_delivered,
            active_subscribers,
            active_topics,
            uptime_seconds,
        })?;
    }

    /// What a codec's crate refuses is read again by a reader of ours, for the place: both must judge alike.
    #[test]
    fn what_is_taken_is_what_the_crate_takes_whole(
        parts in parts(),
        dialect in dialect(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        how in 0..4_u8,
    ) {
        let event = parts.event().unwrap_or_else(|| parts.trigger());
        let mut bytes = Vec::new();
        dialect.encode(&event, &mut bytes).unwrap();
        let at = at.index(bytes.len());
        match how {
            0 => bytes.truncate(at),
            1 => bytes[at] = byte,
            2 => bytes[at] = 248 + byte % 8,
            _ => bytes.insert(at, byte),
        }
        let by_crate = match dialect {
            Dialect::Postcard => matches!(postcard::take_from_bytes::<CollectionEvent<'_>>(&bytes), Ok((_, []))),
            _ => {
                let config = bincode::config::standard();
                bincode::serde::borrow_decode_from_slice::<CollectionEvent<'_>, _>(&bytes, config)
                    .is_ok_and(|(_, used)| used == bytes.len())
            }
        };
        match dialect.decode::<CollectionEvent<'_>>(&bytes) {
            Ok(_) => prop_assert!(by_crate),
            Err(error) => {
                prop_assert!(!by_crate);
                prop_assert!(error.offset <= bytes.len());
                prop_assert_eq!(error.dialect, dialect.name());
            }
        }
    }
}

#[test]
fn only_dialects_of_connections_can_be_configured() {
    assert_eq!(
        Dialect::ALL.iter().map(|dialect| dialect.name()).collect::<Vec<_>>(),
        ["bincode", "postcard", "bincode-v0"]
    );
    for dialect in Dialect::ALL.iter().copied() {
        assert_eq!(Dialect::from_name(dialect.name()), Some(dialect));
        let allowed = Dialect::for_connection(dialect.name()).is_ok();
        assert_eq!(allowed, dialect != Dialect::BincodeV0);
        let broker = BrokerConfig {
            dialect,
            ..BrokerConfig::default()
        };
        assert_eq!(broker.validate().is_ok(), allowed);
        let broker = BrokerConfig {
            original_dialect: dialect,
            ..BrokerConfig::default()
        };
        assert_eq!(broker.validate().is_ok(), allowed);
        let client = ClientConfig {
            dialect,
            ..ClientConfig::default()
        };
        assert_eq!(client.validate().is_ok(), allowed);
    }
    assert_eq!(BrokerConfig::default().original_dialect, Dialect::Postcard);
    assert_eq!(Dialect::for_connection("xml"), Err("bincode, postcard".to_owned()));
}
