//! A trie of patterns: the cost of a look-up follows the topic's depth, not the number of patterns.
//!
//! A node has a child per literal segment and one child for "any segment", which `+` and an inner `*` share, so a
//! look-up visits at most two children per level: 2^depth nodes in the worst case, however many patterns there are.
//! Patterns end at the node that their last fixed segment leads to. Nodes, ends and keys are freed with the last pair
//! that needed them, and tables shrink with what they hold, so a peer's past subscriptions cost nothing.
use std::hash::Hash;

use hashbrown::{HashMap, HashSet};

use super::Pattern;
use super::pattern::{Reach, Step, split, step};
use crate::growth;

/// Patterns and the keys registered under them. A key may stand under several patterns; a (pattern, key) pair once.
#[derive(Debug)]
pub struct Matcher<K> {
    root: Node<K>,
    patterns: usize,
}

#[derive(Debug)]
struct Node<K> {
    literal: HashMap<Box<str>, Box<Node<K>>>,
    any: Option<Box<Node<K>>>,
    /// Ordered by reach, then text: `a.*.b` and `a.+.b` end at the same node and are still two patterns.
    ends: Vec<End<K>>,
}

#[derive(Debug)]
struct End<K> {
    reach: Reach,
    pattern: Pattern,
    keys: HashSet<K>,
}

impl<K> Default for Matcher<K> {
    fn default() -> Self {
        Self {
            root: Node::default(),
            patterns: 0,
        }
    }
}

impl<K: Copy + Eq + Hash> Matcher<K> {
    /// False if the pair was there already.
    pub fn insert(&mut self, pattern: &Pattern, key: K) -> bool {
        let mut node = &mut self.root;
        let mut rest = Some(pattern.as_str());
        let reach = loop {
            match step(rest) {
                Step::End(reach) => break reach,
                Step::Any(further) => {
                    node = node.any.get_or_insert_default();
                    rest = further;
                }
                Step::Literal(segment, further) => {
                    node = node.literal.entry(segment.into()).or_default();
                    rest = further;
                }
            }
        };
        match node.position(reach, pattern) {
            Ok(at) => node.ends.get_mut(at).is_some_and(|end| end.keys.insert(key)),
            Err(at) => {
                // Most nodes have one end; growing by doubling would hold room for four.
                node.ends.reserve_exact(1);
                node.ends.insert(
                    at,
                    End {
                        reach,
                        pattern: pattern.clone(),
                        keys: HashSet::from_iter([key]),
                    },
                );
                self.patterns += 1;
                true
            }
        }
    }

    /// False if the pair was not there. Frees what became empty.
    pub fn remove(&mut self, pattern: &Pattern, key: K) -> bool {
        let removed = self.root.remove(Some(pattern.as_str()), pattern, key);
        if removed == Removed::PairAndPattern {
            self.patterns -= 1;
        }
        removed != Removed::Nothing
    }

    /// Calls `found` once per matching (pattern, key) pair, in no particular order.
    pub fn find<'m>(&'m self, topic: &str, mut found: impl FnMut(&'m Pattern, K)) {
        self.root.find(Some(topic), &mut found);
    }

    /// How many distinct patterns are registered.
    pub fn patterns(&self) -> usize {
        self.patterns
    }

    pub fn is_empty(&self) -> bool {
        self.patterns == 0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removed {
    Nothing,
    Pair,
    PairAndPattern,
}

impl<K> Default for Node<K> {
    fn default() -> Self {
        Self {
            literal: HashMap::new(),
            any: None,
            ends: Vec::new(),
        }
    }
}

impl<K: Copy + Eq + Hash> Node<K> {
    fn is_empty(&self) -> bool {
        self.literal.is_empty() && self.any.is_none() && self.ends.is_empty()
    }

    fn position(&self, reach: Reach, pattern: &Pattern) -> Result<usize, usize> {
        self.ends
            .binary_search_by(|end| (end.reach, end.pattern.as_str()).cmp(&(reach, pattern.as_str())))
    }

    /// Recursion is bounded by the depth of the patterns that were inserted, never by the topic.
    fn find<'m>(&'m self, remaining: Option<&str>, found: &mut impl FnMut(&'m Pattern, K)) {
        for end in &self.ends {
            if end.reach.covers(remaining) {
                for &key in &end.keys {
                    found(&end.pattern, key);
                }
            }
        }
        let Some(text) = remaining else { return };
        let (segment, remaining) = split(text);
        if let Some(child) = self.literal.get(segment) {
            child.find(remaining, found);
        }
        if let Some(child) = &self.any {
            child.find(remaining, found);
        }
    }

    fn remove(&mut self, rest: Option<&str>, pattern: &Pattern, key: K) -> Removed {
        match step(rest) {
            Step::End(reach) => self.remove_end(reach, pattern, key),
            Step::Any(further) => {
                let Some(child) = &mut self.any else {
                    return Removed::Nothing;
                };
                let removed = child.remove(further, pattern, key);
                if child.is_empty() {
                    self.any = None;
                }
                removed
            }
            Step::Literal(segment, further) => {
                let Some(child) = self.literal.get_mut(segment) else {
                    return Removed::Nothing;
                };
                let removed = child.remove(further, pattern, key);
                if child.is_empty() {
                    self.literal.remove(segment);
                    let (len, capacity) = (self.literal.len(), self.literal.capacity());
                    if is_sparse(len, capacity) && may_shrink::<(Box<str>, Box<Self>)>(len) {
                        self.literal.shrink_to(2 * len);
                    }
                }
                removed
            }
        }
    }

    fn remove_end(&mut self, reach: Reach, pattern: &Pattern, key: K) -> Removed {
        let Ok(at) = self.position(reach, pattern) else {
            return Removed::Nothing;
        };
        let Some(end) = self.ends.get_mut(at) else {
            return Removed::Nothing;
        };
        if !end.keys.remove(&key) {
            return Removed::Nothing;
        }
        if !end.keys.is_empty() {
            let (len, capacity) = (end.keys.len(), end.keys.capacity());
            if is_sparse(len, capacity) && may_shrink::<K>(len) {
                end.keys.shrink_to(2 * len);
            }
            return Removed::Pair;
        }
        self.ends.remove(at);
        if is_sparse(self.ends.len(), self.ends.capacity()) {
            self.ends.shrink_to(2 * self.ends.len());
        }
        Removed::PairAndPattern
    }
}

/// A table of `len` entries shrinks by moving to a new one, and there may be no memory for that. It has less than five places for each
/// entry, with a byte beside each.
fn may_shrink<T>(len: usize) -> bool {
    growth::is_available(len.saturating_mul(5 * (size_of::<T>() + 1)))
}

/// An eighth: far enough from full that shrinking to double is paid for by the removals before it.
fn is_sparse(len: usize, capacity: usize) -> bool {
    len == 0 || capacity / 8 > len
}
