//! `FrozenMap`: the read-only, hashable mapping that events return; and the entries that constructors take.
//!
//! It holds a dict of its own that nothing else can reach, so what was checked stays true: code of others is given copies. So are the
//! views: those of `collections.abc` need none, but take three to ten times as long to iterate over, which is what views are for. Keys and
//! values are exact `str` (values of counters: `int`), which cannot refer back: no cycles, hence no garbage collector support.
use daemoneye_eventbus_core::event::Map;
use daemoneye_eventbus_core::wire;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyIterator, PyMapping, PyString, PyTuple, PyType};

use smallvec::SmallVec;

use crate::args::{Arg, Field, Origin};
use crate::calls;
use crate::key_cache::Cached;
use crate::objects;

/// Checked entries, as an event keeps them; few are no allocation of their own.
pub(crate) type Entries = SmallVec<[(Py<PyString>, Py<PyString>); 2]>;

/// Of a `FrozenMap` that a caller makes, as of the other lists and mappings off the hot path.
const MOST_ENTRIES: usize = 64 * 1024;

/// What a caller makes one of.
const GIVEN: Field = Field("FrozenMap", "mapping");

/// Characters of a key in a refusal.
const SHOWN: usize = 64;

/// What limits a map that a caller gives, besides being text.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub entries: usize,
    pub key: usize,
    pub value: usize,
}

impl Limits {
    pub(crate) const METADATA: Self = Self {
        entries: daemoneye_eventbus_core::event::map::MAX_ENTRIES,
        key: usize::MAX,
        value: usize::MAX,
    };
}

/// A read-only, hashable mapping with text as keys; its deep copy is a plain dict.
#[pyclass(frozen, mapping, module = "daemoneye_eventbus")]
pub(crate) struct FrozenMap {
    dict: Py<PyDict>,
}

/// A constructor's map, copied in.
pub(crate) fn take(field: Field, arg: Arg<'_, '_>, limits: Limits, origin: Origin) -> PyResult<Entries> {
    let Some(ob) = arg.present() else {
        return Ok(Entries::new());
    };
    let dict = if let Ok(dict) = ob.cast_exact::<PyDict>() {
        dict.to_owned()
    } else if let Ok(map) = ob.cast_exact::<FrozenMap>() {
        map.get().dict.bind(ob.py()).clone()
    } else if calls::is_mapping(&ob)? {
        // Its length is what its class says, and need not be how many come.
        calls::copied(&ob, limits.entries)?.ok_or_else(|| too_many(field, "at least ", limits.entries + 1, limits))?
    } else {
        return Err(field.type_error("a mapping of str to str", &ob));
    };
    if origin == Origin::Caller && dict.len() > limits.entries {
        return Err(too_many(field, "", dict.len(), limits));
    }
    let py = dict.py();
    let mut entries = Entries::with_capacity(dict.len());
    for (key, value) in &dict {
        let (key, value) = (key.as_borrowed(), value.as_borrowed());
        let (name, text) = if origin == Origin::Caller && limits.key != usize::MAX {
            (field.short_text(key, limits.key), field.short_text(value, limits.value))
        } else {
            (field.text(key), field.text(value))
        };
        let name = name.map_err(|error| of_key(field, py, &error))?;
        entries.push((name, text.map_err(|error| at_key(field, &key, &error))?));
    }
    Ok(entries)
}

#[cold]
fn too_many(field: Field, least: &str, entries: usize, limits: Limits) -> PyErr {
    field.value_error(format_args!(
        "{least}{entries} entries are above the limit of {}; leave some out",
        limits.entries
    ))
}

/// Of a `FrozenMap` that a caller makes.
#[cold]
fn above_limit(least: usize) -> PyErr {
    GIVEN.value_error(format_args!(
        "at least {least} entries are above the limit of {MOST_ENTRIES}; leave some out"
    ))
}

/// The refusal of a value, with its key, a text, behind the name of the field.
#[cold]
pub(crate) fn at_key(field: Field, key: &Bound<'_, PyAny>, refusal: &PyErr) -> PyErr {
    let py = key.py();
    let text = key.cast::<PyString>().ok().and_then(|key| key.to_str().ok());
    let text = text.unwrap_or_default();
    let (start, more) = match text.char_indices().nth(SHOWN) {
        Some((end, _)) => (text.get(..end).unwrap_or_default(), "..."),
        None => (text, ""),
    };
    let shown = calls::repr(&PyString::new(py, start)).map_or_else(|_| "?".to_owned(), |shown| shown.to_string());
    within(field, &format!("[{shown}{more}]"), py, refusal)
}

/// The refusal of a key, which may be of any type and length, so that it is not shown.
#[cold]
pub(crate) fn of_key(field: Field, py: Python<'_>, refusal: &PyErr) -> PyErr {
    within(field, ": a key", py, refusal)
}

/// A refusal with `place` behind the name of the field.
fn within(field: Field, place: &str, py: Python<'_>, refusal: &PyErr) -> PyErr {
    let text = refusal.value(py).to_string();
    let named = format!("{}.{}", field.0, field.1);
    let reason = text.strip_prefix(&named).unwrap_or(&text);
    PyErr::from_type(refusal.get_type(py), format!("{named}{place}{reason}"))
}

/// The entries as the encoder takes them.
pub(crate) fn view<'a>(entries: &'a Entries, py: Python<'a>) -> PyResult<Map<'a>> {
    let mut map = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        map.push((key.bind(py).to_str()?, value.bind(py).to_str()?));
    }
    Ok(Map(map))
}

impl FrozenMap {
    /// A dict that its receiver may change, or reach through a view of it.
    fn copy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.dict.bind(py).copy()
    }

    pub(crate) fn of_entries(py: Python<'_>, entries: &Entries) -> PyResult<Py<Self>> {
        let dict = PyDict::new(py);
        for (key, value) in entries {
            dict.set_item(key, value)?;
        }
        Py::new(py, Self { dict: dict.unbind() }).map(objects::untrack)
    }

    /// Of a repeated key the last value wins, at the first place.
    pub(crate) fn of_wire(py: Python<'_>, entries: &wire::Entries<'_>) -> PyResult<Py<Self>> {
        let dict = PyDict::new(py);
        let mut keys = Cached::new();
        for (key, value) in entries {
            dict.set_item(keys.text(py, key.0)?, PyString::from_bytes(py, value.0)?)?;
        }
        Py::new(py, Self { dict: dict.unbind() }).map(objects::untrack)
    }

    /// Of a mapping that a caller gives.
    fn checked(given: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = given.py();
        if let Ok(map) = given.cast_exact::<Self>() {
            let dict = map.get().copy(py)?.unbind();
            return Ok(Self { dict });
        }
        let entries = match given.cast_exact::<PyDict>() {
            Ok(dict) if dict.len() <= MOST_ENTRIES => dict.clone(),
            _ => calls::copied(given, MOST_ENTRIES)?.ok_or_else(|| above_limit(MOST_ENTRIES + 1))?,
        };
        let dict = PyDict::new(py);
        for (key, value) in &entries {
            let key = Field("FrozenMap", "key").text(key.as_borrowed())?;
            dict.set_item(key, Field("FrozenMap", "value").text_or_int(value.as_borrowed())?)?;
        }
        Ok(Self { dict: dict.unbind() })
    }

    pub(crate) fn of_map(py: Python<'_>, map: &Map<'_>) -> PyResult<Py<Self>> {
        let dict = PyDict::new(py);
        for (key, value) in &map.0 {
            dict.set_item(key, value)?;
        }
        Py::new(py, Self { dict: dict.unbind() }).map(objects::untrack)
    }
}

#[pymethods]
impl FrozenMap {
    #[new]
    #[pyo3(signature = (mapping = Arg::MISSING, /), text_signature = "(mapping={}, /)")]
    fn new(py: Python<'_>, mapping: Arg<'_, '_>) -> PyResult<Self> {
        match mapping.present() {
            None => Ok(Self {
                dict: PyDict::new(py).unbind(),
            }),
            Some(given) if calls::is_mapping(&given)? => Self::checked(&given),
            Some(other) => Err(GIVEN.type_error("a mapping of str to str or int", &other)),
        }
    }

    /// Of a key that both have, the value on the right.
    fn __or__<'py>(slf: &Bound<'py, Self>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        merged(slf.as_any(), other)
    }

    fn __ror__<'py>(slf: &Bound<'py, Self>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        merged(other, slf.as_any())
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.dict.bind(py).len()
    }

    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.dict.bind(key.py()).as_any().get_item(key)
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.dict.bind(key.py()).contains(key)
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.dict.bind(py).try_iter()
    }

    fn __reversed__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.dict.bind(py).call_method0("__reversed__")
    }

    /// The value of ``key``, or ``default``.
    #[pyo3(signature = (key, /, default = None))]
    fn get<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.dict.bind(key.py()).get_item(key)?.or(default))
    }

    /// Its keys, in the order in which they were given.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.copy(py)?.call_method0("keys")
    }

    /// Its values, in the same order.
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.copy(py)?.call_method0("values")
    }

    /// Its pairs, in the same order.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.copy(py)?.call_method0("items")
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = other.py();
        let mine = self.dict.bind(py);
        let equal = if let Ok(map) = other.cast_exact::<Self>() {
            mine.eq(map.get().dict.bind(py))?
        } else if let Ok(dict) = other.cast_exact::<PyDict>() {
            mine.eq(dict)?
        } else if let Ok(subclass) = other.cast::<PyDict>() {
            // Python asks its own `__eq__` first.
            self.copy(py)?.eq(subclass)?
        } else if calls::is_mapping(other)? {
            calls::copied(other, mine.len())?.map_or(Ok(false), |copy| mine.eq(copy))?
        } else {
            return Ok(py.NotImplemented());
        };
        Ok(equal.into_pyobject(py)?.to_owned().into_any().unbind())
    }

    /// Independent of the order of entries, as equality is.
    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        let mut sum = 0x9e37_isize;
        for entry in self.dict.bind(py) {
            sum = sum.wrapping_add(PyTuple::new(py, [entry.0, entry.1])?.hash()?);
        }
        Ok(sum)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<Py<PyString>> {
        Ok(self.dict.bind(py).repr()?.unbind())
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// A plain dict, so that `dataclasses.asdict` gives plain dicts.
    fn __deepcopy__<'py>(&self, py: Python<'py>, memo: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let _ = memo;
        self.copy(py)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyType>, (Bound<'py, PyDict>,))> {
        Ok((slf.get_type(), (slf.get().copy(slf.py())?,)))
    }

    #[classmethod]
    fn __class_getitem__<'py>(class: &Bound<'py, PyType>, item: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        generic_alias(class, item)
    }
}

/// A `FrozenMap` of the entries of both; `NotImplemented` unless both are mappings.
fn merged<'py>(left: &Bound<'py, PyAny>, right: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = left.py();
    if !(calls::is_mapping(left)? && calls::is_mapping(right)?) {
        return Ok(py.NotImplemented().into_bound(py));
    }
    let (left, right) = (FrozenMap::checked(left)?, FrozenMap::checked(right)?);
    let all = left.dict.bind(py);
    all.update(right.dict.bind(py).as_mapping())?;
    if all.len() > MOST_ENTRIES {
        return Err(above_limit(all.len()));
    }
    Ok(Bound::new(py, left)?.into_any())
}

/// `Class[item]`, which only type checkers care about.
pub(crate) fn generic_alias<'py>(class: &Bound<'py, PyType>, item: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static ALIAS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    ALIAS.import(class.py(), "types", "GenericAlias")?.call1((class, item))
}

/// Makes `FrozenMap` a `collections.abc.Mapping` for `isinstance` and `match`.
pub(crate) fn register(py: Python<'_>) -> PyResult<()> {
    PyMapping::register::<FrozenMap>(py).map_err(|error| PyTypeError::new_err(error.to_string()))
}
