//! The keys of received metadata, of which collectors send the same few with every event: kept as Python's strings, so that a map that is
//! read makes none of them anew, nor hashes them.
//!
//! A cache of fixed size, in which a key has one place: another that falls on it takes it over. What it holds is bounded by [`PLACES`] and
//! [`LONGEST`], whoever sends what. A forked child begins with an empty one.
use std::hash::BuildHasher;

use daemoneye_eventbus_core::forked::PerProcess;
use daemoneye_eventbus_core::lock::{Mutex, MutexGuard};
use hashbrown::DefaultHashBuilder;
use pyo3::prelude::*;
use pyo3::types::PyString;

const PLACES: usize = 512;

/// Bytes of a key that is kept.
const LONGEST: usize = 64;

static KEYS: PerProcess<Mutex<Option<Keys>>> = PerProcess::new(Mutex::new(None));

struct Keys {
    hasher: DefaultHashBuilder,
    places: Box<[Option<Py<PyString>>]>,
}

/// The cache for the keys of one map.
pub(crate) struct Cached(Option<MutexGuard<'static, Option<Keys>>>);

/// Called in a forked child.
pub(crate) fn begin_anew() {
    KEYS.reset(Mutex::new(None));
}

impl Cached {
    /// Without the cache where another thread has it: none waits for it.
    pub(crate) fn new() -> Self {
        Self(KEYS.get().try_lock())
    }

    /// `key` as Python's own; `UnicodeDecodeError` if it is not UTF-8.
    pub(crate) fn text<'py>(&mut self, py: Python<'py>, key: &[u8]) -> PyResult<Bound<'py, PyString>> {
        // Only of ASCII does Python keep the UTF-8 without another copy.
        if let Some(keys) = self.0.as_mut()
            && key.len() <= LONGEST
            && key.is_ascii()
        {
            return keys.get_or_insert_with(Keys::new).text(py, key);
        }
        PyString::from_bytes(py, key)
    }
}

impl Keys {
    fn new() -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            places: std::iter::repeat_with(|| None).take(PLACES).collect(),
        }
    }

    fn text<'py>(&mut self, py: Python<'py>, key: &[u8]) -> PyResult<Bound<'py, PyString>> {
        let hash = usize::try_from(self.hasher.hash_one(key) % PLACES as u64)?;
        let Some(place) = self.places.get_mut(hash) else {
            return PyString::from_bytes(py, key);
        };
        if let Some(kept) = place
            && kept.bind(py).to_str()?.as_bytes() == key
        {
            return Ok(kept.bind(py).clone());
        }
        let made = PyString::from_bytes(py, key)?;
        *place = Some(made.clone().unbind());
        Ok(made)
    }
}
