//! A bounded cache from topic to whatever a look-up found, forgotten as a whole when the generation moves.
//!
//! The topic asked for last, which most messages have again, costs one comparison; another one that is known a hash look-up. Neither
//! allocates. Memory is bounded by `capacity` topics of at most [`MAX_TOPIC_BYTES`] each, whatever peers publish.
use hashbrown::HashMap;

use super::MAX_TOPIC_BYTES;

/// At most `capacity` topics; when full it is emptied (a bus has few topics; a flood of new ones costs look-ups only).
#[derive(Debug)]
pub struct Cache<V> {
    values: HashMap<Box<[u8]>, V>,
    last: Option<(Vec<u8>, V)>,
    generation: u64,
    capacity: usize,
}

impl<V: Clone> Cache<V> {
    pub fn new(capacity: usize) -> Self {
        Self {
            values: HashMap::new(),
            last: None,
            generation: 0,
            capacity,
        }
    }

    /// The cached value for `topic` if it was stored under this `generation`, else what `look_up` gives, stored.
    #[inline]
    pub fn get_or_insert_with(&mut self, topic: impl AsRef<[u8]>, generation: u64, look_up: impl FnOnce() -> V) -> &V {
        let topic = topic.as_ref();
        let last = match self.last.take() {
            Some(last) if last.0 == topic && self.generation == generation && self.keeps(topic) => last,
            last => {
                let value = self.find(topic, generation, look_up);
                let mut name = last.map(|(name, _)| name).unwrap_or_default();
                name.clear();
                if self.keeps(topic) {
                    name.extend_from_slice(topic);
                }
                (name, value)
            }
        };
        &self.last.insert(last).1
    }

    fn keeps(&self, topic: &[u8]) -> bool {
        self.capacity > 0 && (1..=MAX_TOPIC_BYTES).contains(&topic.len())
    }

    fn find(&mut self, topic: &[u8], generation: u64, look_up: impl FnOnce() -> V) -> V {
        if self.generation != generation {
            self.values.clear();
            self.generation = generation;
        }
        if let Some(value) = self.values.get(topic) {
            return value.clone();
        }
        let value = look_up();
        if self.keeps(topic) {
            if self.values.len() >= self.capacity {
                self.values.clear();
            }
            if self.values.try_reserve(1).is_ok() {
                self.values.insert(topic.into(), value.clone());
            }
        }
        value
    }
}
