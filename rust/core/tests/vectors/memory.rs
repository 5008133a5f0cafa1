//! No length that a peer announces is ever allocated, wherever in a value it stands.
#![expect(unsafe_code, reason = "an allocator is unsafe to write")]
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use daemoneye_eventbus_core::event::{
    CollectionEvent, CorrelationFilter, CorrelationMetadata, EventBusStatistics, EventFilter, EventSubscription,
    SourceCaps,
};
use daemoneye_eventbus_core::wire::{self, Dialect, Message};
use serde::Deserialize;

use crate::values::{files, text, unhex};
use crate::{encoded, entries};

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on unchanged to the system allocator; counting touches only const-initialised,
// destructor-free thread locals, which do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.get().saturating_add_unsigned(layout.size());
        LIVE.set(live);
        PEAK.set(PEAK.get().max(live));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get().saturating_sub_unsigned(layout.size()));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that was held at once while `work` ran, beyond what was held before.
fn peak(work: impl FnOnce()) -> usize {
    let before = LIVE.get();
    PEAK.set(before);
    work();
    PEAK.get().saturating_sub(before).unsigned_abs()
}

fn decode(dialect: Dialect, kind: &str, bytes: &[u8]) {
    fn try_one<'de, T: Deserialize<'de>>(dialect: Dialect, bytes: &'de [u8]) {
        drop(dialect.decode::<T>(bytes));
    }
    match kind {
        "Message" => {
            try_one::<Message<'_>>(dialect, bytes);
            drop(wire::read(dialect, bytes));
            drop(wire::check(dialect, bytes, 8));
        }
        "CollectionEvent" => try_one::<CollectionEvent<'_>>(dialect, bytes),
        "CorrelationMetadata" => try_one::<CorrelationMetadata<'_>>(dialect, bytes),
        "EventSubscription" => try_one::<EventSubscription>(dialect, bytes),
        "CorrelationFilter" => try_one::<CorrelationFilter>(dialect, bytes),
        "EventFilter" => try_one::<EventFilter>(dialect, bytes),
        "SourceCaps" => try_one::<SourceCaps>(dialect, bytes),
        "EventBusStatistics" => try_one::<EventBusStatistics>(dialect, bytes),
        other => panic!("unknown type {other}"),
    }
}

#[test]
fn a_forged_length_is_never_allocated() {
    for (dialect, file) in files() {
        let forged: Vec<Vec<u8>> = [1 << 20, 1 << 24, 1 << 30, 1 << 47, u64::MAX]
            .iter()
            .map(|length| encoded(dialect, length))
            .collect();
        let valid = entries(&file, "vectors").into_iter();
        let refused = entries(&file, "reject").into_iter();
        for vector in valid.chain(refused).filter(|vector| vector.get("hex").is_some()) {
            let (kind, bytes) = (text(&vector["type"]), unhex(text(&vector["hex"])));
            if bytes.len() > 400 {
                continue;
            }
            for at in 0..=bytes.len() {
                for length in &forged {
                    let (before, behind) = bytes.split_at(at);
                    let behind = behind.get(1..).unwrap_or_default();
                    let changed = [before, length, behind].concat();
                    // Lists and maps grow as their items are found to be there, and errors have words.
                    let allowed = 8 * 1024 + 64 * changed.len();
                    let held = peak(|| decode(dialect, kind, &changed));
                    assert!(held <= allowed, "{} {kind} at {at}: {held} bytes", dialect.name());
                }
            }
        }
    }
}
