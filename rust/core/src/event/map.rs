//! String maps as they are met on the wire: entries in the order given, never sized by a peer's number.
//!
//! Both directions refuse more than [`MAX_ENTRIES`], so that nothing can be written here that a reader would refuse.
use std::fmt;
use std::marker::PhantomData;

use hashbrown::HashMap;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, Serializer};
use serde::{Deserialize, Serialize};

/// The most entries one metadata map may have on this bus.
pub const MAX_ENTRIES: usize = 4096;

/// Room made ahead for the entries of a list or map, whatever number the bytes announce.
const MAX_PREALLOCATED: usize = 16;

/// The entries of a map, borrowed, in wire order. A repeated key is kept here; readers let the last one win.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Map<'a>(pub Vec<(&'a str, &'a str)>);

/// Decodes a map by walking over it: every entry checked, none kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Walk;

impl<'a> Map<'a> {
    /// The value under `key`; the last one if it is repeated.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().rev().find(|entry| entry.0 == key).map(|entry| entry.1)
    }

    /// Leaves a repeated key its first place and its last value, as a reader sees it.
    pub fn drop_repeats(&mut self) {
        if self.0.len() < 2 {
            return;
        }
        let mut places = HashMap::with_capacity(self.0.len());
        let mut kept: Vec<(&'a str, &'a str)> = Vec::with_capacity(self.0.len());
        for &(key, value) in &self.0 {
            let place = *places.entry(key).or_insert(kept.len());
            match kept.get_mut(place) {
                Some(entry) => entry.1 = value,
                None => kept.push((key, value)),
            }
        }
        self.0 = kept;
    }
}

impl Serialize for Map<'_> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.len() > MAX_ENTRIES {
            return Err(S::Error::custom(too_many(self.0.len())));
        }
        serializer.collect_map(self.0.iter().copied())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Map<'a> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_map(Entries::<(&'a str, &'a str)>(PhantomData))
            .map(Self)
    }
}

impl<'de> Deserialize<'de> for Walk {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(WalkVisitor)
    }
}

#[cold]
pub(super) fn too_many(count: usize) -> String {
    format!("map of {count} entries is above the limit of {MAX_ENTRIES}; send fewer")
}

/// Refuses an announced count before the first entry is read.
#[inline]
pub(super) fn preallocated<'de, A: MapAccess<'de>>(access: &A) -> Result<usize, A::Error> {
    match access.size_hint() {
        Some(count) if count > MAX_ENTRIES => Err(A::Error::custom(too_many(count))),
        Some(count) => Ok(count.min(MAX_PREALLOCATED)),
        None => Ok(0),
    }
}

/// Collects pairs of any two types, [`MAX_ENTRIES`] at most.
pub(super) struct Entries<T>(pub(super) PhantomData<T>);

impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for Entries<(K, V)> {
    type Value = Vec<(K, V)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of strings")
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::with_capacity(preallocated(&access)?);
        while let Some(entry) = access.next_entry()? {
            // Self-describing formats announce no count, so it is counted too.
            if entries.len() == MAX_ENTRIES {
                return Err(A::Error::custom(too_many(MAX_ENTRIES + 1)));
            }
            let no_memory = |_| A::Error::custom("there is no memory for its entries");
            entries.try_reserve(1).map_err(no_memory)?;
            entries.push(entry);
        }
        Ok(entries)
    }
}

struct WalkVisitor;

impl<'de> Visitor<'de> for WalkVisitor {
    type Value = Walk;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of strings")
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Walk, A::Error> {
        preallocated(&access)?;
        let mut count = 0;
        while access.next_entry::<&str, &str>()?.is_some() {
            count += 1;
            if count > MAX_ENTRIES {
                return Err(A::Error::custom(too_many(count)));
            }
        }
        Ok(Walk)
    }
}

/// `deserialize_with` for lists: serde's own `Vec` makes up to 1 MiB of room for an announced count.
pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    struct Items<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::with_capacity(access.size_hint().unwrap_or(0).min(MAX_PREALLOCATED));
            while let Some(item) = access.next_element()? {
                items.push(item);
            }
            Ok(items)
        }
    }

    deserializer.deserialize_seq(Items(PhantomData))
}

/// [`list`] inside an `Option`.
pub(crate) fn optional_list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    struct List<T>(Vec<T>);

    impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            list(deserializer).map(Self)
        }
    }

    Ok(Option::<List<T>>::deserialize(deserializer)?.map(|list| list.0))
}
