//! The lists and maps of a filter, compiled so that asking costs the message once, however many terms there are.
use std::collections::{HashMap, HashSet};

use smallvec::{SmallVec, smallvec};

use crate::event::{Map, Text, TextMap};

/// Up to this many terms are compared one by one; above, they are hashed (keyed, so that no peer can choose collisions).
const FEW: usize = 8;

/// A list of which any element may equal.
#[derive(Debug, Clone)]
pub(super) enum Words {
    Few(Vec<Box<str>>),
    Many(HashSet<Box<str>>),
}

impl Words {
    pub(super) fn new(words: &[Text]) -> Self {
        let words = words.iter().map(|word| word.0.as_str().into());
        if words.len() > FEW {
            Self::Many(words.collect())
        } else {
            Self::Few(words.collect())
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Few(words) if words.is_empty())
    }

    /// What is absent is in no list.
    pub(super) fn has(&self, word: Option<&str>) -> bool {
        word.is_some_and(|word| match self {
            Self::Few(words) => words.iter().any(|one| **one == *word),
            Self::Many(words) => words.contains(word),
        })
    }
}

/// Pairs to be found in a map; of a repeated key the last pair counts, on both sides.
#[derive(Debug, Clone)]
pub(super) enum Pairs {
    Few(Vec<(Box<str>, Box<str>)>),
    /// Each key with its number and value.
    Many(HashMap<Box<str>, (usize, Box<str>)>),
}

impl Pairs {
    pub(super) fn new(pairs: &TextMap) -> Self {
        let unique: HashMap<&str, &str> = pairs.0.iter().map(|(key, value)| (&**key, &**value)).collect();
        let pairs = unique.into_iter().map(|(key, value)| (key.into(), value.into()));
        if pairs.len() > FEW {
            let numbered = pairs.enumerate();
            Self::Many(numbered.map(|(number, (key, value))| (key, (number, value))).collect())
        } else {
            Self::Few(pairs.collect())
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Few(pairs) if pairs.is_empty())
    }

    pub(super) fn all_in(&self, map: &Map<'_>) -> bool {
        match self {
            Self::Few(pairs) => pairs.iter().all(|(key, value)| map.get(key) == Some(value)),
            Self::Many(pairs) => {
                let mut equal = 0;
                // The walk ends at the first pair that differs.
                !Self::walk(pairs, map, |same| {
                    equal += usize::from(same);
                    !same
                }) && equal == pairs.len()
            }
        }
    }

    pub(super) fn any_in(&self, map: &Map<'_>) -> bool {
        match self {
            Self::Few(pairs) => pairs.iter().any(|(key, value)| map.get(key) == Some(value)),
            Self::Many(pairs) => Self::walk(pairs, map, |same| same),
        }
    }

    /// Tells `found`, for every wanted key of the map, whether its value is the wanted one; true as soon as it says so.
    fn walk(pairs: &HashMap<Box<str>, (usize, Box<str>)>, map: &Map<'_>, mut found: impl FnMut(bool) -> bool) -> bool {
        let mut seen: SmallVec<[bool; 256]> = smallvec![false; pairs.len()];
        map.0.iter().rev().any(|(key, value)| {
            let Some((number, wanted)) = pairs.get(*key) else {
                return false;
            };
            match seen.get_mut(*number) {
                Some(seen) if !*seen => {
                    *seen = true;
                    found(**wanted == **value)
                }
                _ => false,
            }
        })
    }
}
