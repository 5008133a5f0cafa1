//! A bounded cache from topic to whatever a look-up found, forgotten as a whole when the generation moves.
//!
//! A hit costs one hash look-up and a clone of the value, and allocates nothing. Memory is bounded by `capacity`
//! topics of at most [`MAX_TOPIC_BYTES`] each, whatever peers publish.
use hashbrown::HashMap;

use super::MAX_TOPIC_BYTES;

/// At most `capacity` topics; when full it is emptied (a bus has few topics; a flood of new ones costs look-ups only).
#[derive(Debug)]
pub struct Cache<V> {
    values: HashMap<Box<str>, V>,
    generation: u64,
    capacity: usize,
}

impl<V: Clone> Cache<V> {
    pub fn new(capacity: usize) -> Self {
        Self {
            values: HashMap::new(),
            generation: 0,
            capacity,
        }
    }

    /// The cached value for `topic` if it was stored under this `generation`, else what `look_up` gives, stored.
    pub fn get_or(&mut self, topic: &str, generation: u64, look_up: impl FnOnce() -> V) -> V {
        if self.generation != generation {
            self.values.clear();
            self.generation = generation;
        }
        if let Some(value) = self.values.get(topic) {
            return value.clone();
        }
        let value = look_up();
        if self.capacity > 0 && topic.len() <= MAX_TOPIC_BYTES {
            if self.values.len() >= self.capacity {
                self.values.clear();
            }
            self.values.insert(topic.into(), value.clone());
        }
        value
    }
}
