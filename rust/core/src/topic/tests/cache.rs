use crate::topic::Cache;

fn missed() -> u32 {
    panic!("looked up although cached")
}

#[test]
fn remembers_until_the_generation_moves() {
    let mut cache = Cache::new(8);
    assert_eq!(*cache.get_or_insert_with("events.a", 1, || 10), 10);
    assert_eq!(*cache.get_or_insert_with("events.a", 1, missed), 10);
    assert_eq!(*cache.get_or_insert_with("events.a", 2, || 20), 20);
    assert_eq!(*cache.get_or_insert_with("events.a", 2, missed), 20);
    assert_eq!(
        *cache.get_or_insert_with("events.a", 1, || 30),
        30,
        "going back is moving too"
    );
}

/// Only the last topic's own text stands where the last one is remembered.
#[test]
fn topics_that_run_together_are_still_others() {
    let mut cache = Cache::new(8);
    for (topic, value) in [("a", 1), ("b", 2), ("ab", 3), ("b", 2), ("aabb", 4)] {
        assert_eq!(*cache.get_or_insert_with(topic, 0, || value), value);
    }
}

#[test]
fn is_emptied_when_full() {
    let mut cache = Cache::new(2);
    for (topic, value) in [("a", 1), ("b", 2), ("c", 3)] {
        assert_eq!(*cache.get_or_insert_with(topic, 0, || value), value);
    }
    assert_eq!(*cache.get_or_insert_with("c", 0, missed), 3);
    assert_eq!(*cache.get_or_insert_with("a", 0, || 4), 4);
}

#[test]
fn keeps_nothing_without_room_or_for_an_oversize_topic() {
    let mut none = Cache::new(0);
    assert_eq!(*none.get_or_insert_with("a", 0, || 1), 1);
    assert_eq!(*none.get_or_insert_with("a", 0, || 2), 2);
    let mut cache = Cache::new(2);
    let long = "x".repeat(257);
    assert_eq!(*cache.get_or_insert_with(&long, 0, || 1), 1);
    assert_eq!(*cache.get_or_insert_with(&long, 0, || 2), 2);
}
