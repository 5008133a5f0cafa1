//! What the topic module allocates: nothing per message, a few hundred bytes per pattern, nothing after the last one.
#![expect(unsafe_code, reason = "an allocator is unsafe to write")]
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use daemoneye_eventbus_core::topic::{Cache, Matcher, Pattern, check};

thread_local! {
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on unchanged to the system allocator; counting touches only const-initialised,
// destructor-free thread locals, which do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.set(LIVE_BYTES.get() + isize::try_from(layout.size()).unwrap_or(0));
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.set(LIVE_BYTES.get() - isize::try_from(layout.size()).unwrap_or(0));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[allow(clippy::unwrap_used)] // A helper of tests; clippy exempts only the test functions themselves.
fn pattern(text: &str) -> Pattern {
    Pattern::parse(text, 8).unwrap()
}

#[test]
fn the_path_of_a_message_allocates_nothing() {
    let mut matcher = Matcher::default();
    for (key, text) in ["events.#", "events.+.new", "events.process.new", "#"]
        .iter()
        .enumerate()
    {
        matcher.insert(&pattern(text), key);
    }
    let mut cache = Cache::new(16);
    cache.get_or_insert_with("events.process.new", 1, || 4_usize);
    let before = ALLOCATIONS.get();
    let mut found = 0;
    for _ in 0..1_000 {
        check("events.process.new", 8).unwrap();
        found += *cache.get_or_insert_with("events.process.new", 1, || 0);
        matcher.find("events.process.new", |_, _| found += 1);
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
    assert_eq!(found, 8_000);
}

#[test]
fn ten_thousand_subscriptions_take_a_few_mebibytes_and_leave_nothing() {
    let shallow = |i: usize| format!("events.process.collector-{i}");
    let wildcards = |i: usize| format!("events.+.c{}.*.d{}.#", i % 100, i / 100);
    let deep = |i: usize| format!("events.a{i}.b.c.d.e.f.#");
    let texts: [(&dyn Fn(usize) -> String, isize); 3] = [(&shallow, 4), (&wildcards, 6), (&deep, 20)];
    for (text, mebibytes) in texts {
        let before = LIVE_BYTES.get();
        let mut matcher = Matcher::default();
        for key in 0..10_000 {
            assert!(matcher.insert(&pattern(&text(key)), key));
        }
        let held = LIVE_BYTES.get() - before;
        assert!(held < mebibytes << 20, "{held} bytes for patterns like {}", text(1));
        for key in 0..10_000 {
            assert!(matcher.remove(&pattern(&text(key)), key));
        }
        assert!(matcher.is_empty());
        assert_eq!(LIVE_BYTES.get(), before, "after patterns like {}", text(1));
    }
}

#[test]
fn keys_under_one_pattern_leave_nothing() {
    let all = pattern("events.#");
    let mut matcher = Matcher::default();
    let before = LIVE_BYTES.get();
    for key in 0..10_000_usize {
        matcher.insert(&all, key);
    }
    assert!(LIVE_BYTES.get() - before < 1 << 20);
    for key in 1..10_000 {
        matcher.remove(&all, key);
    }
    assert!(LIVE_BYTES.get() - before < 2_048, "tables shrink with what they hold");
    matcher.remove(&all, 0);
    assert_eq!(LIVE_BYTES.get(), before);
}

/// `+` and `*` say the same of a segment within, so that all of these end at one place.
#[test]
fn patterns_that_mean_the_same_leave_nothing() {
    let text = |key: usize| {
        let segments = (0..6).map(|bit| if key >> bit & 1 == 0 { "+" } else { "*" });
        format!("events.{}.x", segments.collect::<Vec<_>>().join("."))
    };
    let all: Vec<_> = (0..64).map(|key| pattern(&text(key))).collect();
    let mut matcher = Matcher::default();
    assert!(matcher.insert(&all[0], 0));
    let one = LIVE_BYTES.get();
    for (key, pattern) in all.iter().enumerate().skip(1) {
        assert!(matcher.insert(pattern, key));
    }
    let held = LIVE_BYTES.get() - one;
    for (key, pattern) in all.iter().enumerate().skip(1) {
        assert!(matcher.remove(pattern, key));
    }
    assert!(
        LIVE_BYTES.get() - one < held / 8,
        "the place shrinks with what ends there"
    );
}
