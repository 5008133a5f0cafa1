//! The ids of one reader's subscriptions that match a message: mostly one, and then without a list to share.

use std::ops::Deref;
use std::sync::Arc;

/// Shared by every run that they match.
#[derive(Debug, Clone)]
pub enum Subscriptions {
    One(u64),
    Many(Arc<[u64]>),
}

impl Subscriptions {
    /// Bytes of the list that this one shares with others.
    pub(crate) fn list_bytes(&self) -> usize {
        match self {
            Self::One(_) => 0,
            Self::Many(ids) => size_of_val(&**ids),
        }
    }

    /// Whether it shares the list of `other`.
    pub(crate) fn shares_with(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Many(one), Self::Many(other)) if Arc::ptr_eq(one, other))
    }
}

impl Deref for Subscriptions {
    type Target = [u64];

    #[inline]
    fn deref(&self) -> &[u64] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }
}

impl FromIterator<u64> for Subscriptions {
    fn from_iter<I: IntoIterator<Item = u64>>(ids: I) -> Self {
        let mut ids = ids.into_iter();
        match (ids.next(), ids.next()) {
            (Some(only), None) => Self::One(only),
            (first, second) => Self::Many(first.into_iter().chain(second).chain(ids).collect()),
        }
    }
}

impl PartialEq for Subscriptions {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}
