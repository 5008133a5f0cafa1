//! A trie of patterns: the cost of a look-up follows the topic's depth, not the number of patterns.
use std::hash::Hash;

use super::Pattern;

/// Patterns and the keys registered under them. A key may stand under several patterns; a (pattern, key) pair once.
#[derive(Debug)]
pub struct Matcher<K> {
    _k: Vec<K>,
}

impl<K> Default for Matcher<K> {
    fn default() -> Self {
        Self { _k: Vec::new() }
    }
}

impl<K: Copy + Eq + Hash> Matcher<K> {
    /// False if the pair was there already.
    pub fn insert(&mut self, _pattern: &Pattern, _key: K) -> bool {
        todo!()
    }
    /// False if the pair was not there. Frees what became empty.
    pub fn remove(&mut self, _pattern: &Pattern, _key: K) -> bool {
        todo!()
    }
    /// Calls `found` once per matching (pattern, key) pair, in no particular order.
    pub fn find<'m>(&'m self, _topic: &str, _found: impl FnMut(&'m Pattern, K)) {
        todo!()
    }
    /// How many distinct patterns are registered.
    pub fn patterns(&self) -> usize {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        todo!()
    }
}
