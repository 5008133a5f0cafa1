//! What a message's topic costs: check, cached and uncached look-up, few and many and hostile patterns.
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use daemoneye_eventbus_core::topic::{Cache, Matcher, Pattern, check};

const TOPIC: &str = "events.process.new";
const DEEP_TOPIC: &str = "events.a.a.a.a.a.a.a";

#[allow(clippy::unwrap_used)] // A bench that cannot parse its own patterns must stop.
fn pattern(text: &str) -> Pattern {
    Pattern::parse(text, 8).unwrap()
}

fn count(matcher: &Matcher<usize>, topic: &str) -> usize {
    let mut found = 0;
    matcher.find(black_box(topic), |_, _| found += 1);
    found
}

/// One subscription that matches, the others do not.
fn unrelated(patterns: usize) -> Matcher<usize> {
    let mut matcher = Matcher::default();
    matcher.insert(&pattern("events.process.*"), 0);
    for key in 1..patterns {
        matcher.insert(&pattern(&format!("events.c{}.x{key}.#", key % 1_000)), key);
    }
    matcher
}

/// 10,000 subscriptions to patterns eight deep; `literals` is what stands beside `+` and `*`.
fn hostile(literals: &[&'static str]) -> Matcher<usize> {
    let mut matcher = Matcher::default();
    for key in 0..10_000 {
        let mut rest = key;
        let mut choose = |literals: &[&'static str]| {
            let chosen = rest % (literals.len() + 2);
            rest /= literals.len() + 2;
            match chosen.checked_sub(2).and_then(|at| literals.get(at).copied()) {
                Some(literal) => literal,
                None if chosen == 0 => "+",
                None => "*",
            }
        };
        let mut segments = vec![choose(&["events"])];
        segments.extend((0..6).map(|_| choose(literals)));
        segments.push(choose(&["#", "a"]));
        matcher.insert(&pattern(&segments.join(".")), key);
    }
    matcher
}

fn assert_p99_below(limit: Duration, matcher: &Matcher<usize>, topic: &str) {
    let mut samples: Vec<Duration> = (0..10_000)
        .map(|_| {
            let start = Instant::now();
            black_box(count(matcher, topic));
            start.elapsed()
        })
        .collect();
    samples.sort_unstable();
    let p99 = samples.get(samples.len() * 99 / 100).copied().unwrap_or_default();
    assert!(
        p99 < limit,
        "p99 of a look-up among hostile patterns is {p99:?}, limit {limit:?}"
    );
}

fn benches(c: &mut Criterion) {
    c.bench_function("check", |b| b.iter(|| check(black_box(TOPIC), 8).is_ok()));
    c.bench_function("parse", |b| b.iter(|| pattern(black_box("events.process.*"))));
    let matched = pattern("events.process.*");
    c.bench_function("matches", |b| b.iter(|| matched.matches(black_box(TOPIC))));

    let one = unrelated(1);
    let many = unrelated(100_000);
    c.bench_function("find/1", |b| b.iter(|| count(&one, TOPIC)));
    c.bench_function("find/100000", |b| b.iter(|| count(&many, TOPIC)));

    // New topics differ in the last segment, so that no two look-ups are for the same text.
    let topics: Vec<String> = (0..65_536).map(|i| format!("events.process.t{i}")).collect();
    for (name, matcher) in [("new_topics/1", &one), ("new_topics/100000", &many)] {
        let mut next = topics.iter().cycle();
        let mut cache = Cache::new(4_096);
        c.bench_function(name, |b| {
            b.iter(|| {
                next.next()
                    .map(|topic| *cache.get_or_insert_with(topic, 1, || count(matcher, topic)))
            })
        });
    }
    for (name, matcher) in [("cached/1", &one), ("cached/100000", &many)] {
        let mut cache = Cache::new(4_096);
        c.bench_function(name, |b| {
            b.iter(|| *cache.get_or_insert_with(black_box(TOPIC), 1, || count(matcher, TOPIC)))
        });
    }

    for (name, literals) in [
        ("hostile/all_match", &["a"][..]),
        ("hostile/some_match", &["a", "b", "c"][..]),
    ] {
        let matcher = hostile(literals);
        assert_p99_below(Duration::from_millis(1), &matcher, DEEP_TOPIC);
        c.bench_function(name, |b| b.iter(|| count(&matcher, DEEP_TOPIC)));
    }

    let all = pattern("events.#");
    let mut crowd = Matcher::default();
    for key in 0..10_000_usize {
        crowd.insert(&all, key);
    }
    c.bench_function("crowd/find_10000_keys", |b| b.iter(|| count(&crowd, TOPIC)));
    c.bench_function("crowd/insert_remove", |b| {
        b.iter(|| crowd.insert(&all, 10_000) && crowd.remove(&all, 10_000))
    });
    let fresh: Vec<Pattern> = (0..10_000).map(|i| pattern(&format!("events.process.c{i}"))).collect();
    c.bench_function("insert_10000_patterns", |b| {
        b.iter_batched(
            Matcher::default,
            |mut matcher| {
                for (key, pattern) in fresh.iter().enumerate() {
                    matcher.insert(pattern, key);
                }
                matcher
            },
            BatchSize::LargeInput,
        )
    });
}

criterion_group!(topic, benches);
criterion_main!(topic);
