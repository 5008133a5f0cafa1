//! A bounded cache from topic to whatever a look-up found, forgotten as a whole when the generation moves.

/// At most `capacity` topics; when full it is emptied (a bus has few topics; a flood of new ones costs look-ups only).
#[derive(Debug)]
pub struct Cache<V> {
    _v: Vec<V>,
}

impl<V: Clone> Cache<V> {
    pub fn new(_capacity: usize) -> Self {
        todo!()
    }
    /// The cached value for `topic` if it was stored under this `generation`, else what `look_up` gives, stored.
    pub fn get_or(&mut self, _topic: &str, _generation: u64, _look_up: impl FnOnce() -> V) -> V {
        todo!()
    }
}
