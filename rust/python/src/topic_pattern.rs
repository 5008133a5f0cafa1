//! `TopicPattern`, and the table of names that `topics.py` states once more for type checkers.
use daemoneye_eventbus_core::topic::{Pattern, check, names, original};
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::args::{Arg, Field};
use crate::errors;

/// A parsed pattern: `*` and `+` match one segment, a final `*` one or more, a final `#` zero or more. It may be as deep as any broker may
/// allow, and so may what it matches.
#[pyclass(frozen, eq, hash, module = "daemoneye_eventbus")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct TopicPattern {
    pattern: Pattern,
}

/// Why this is no pattern of the original's grammar, if it is none.
#[pyfunction]
#[pyo3(signature = (pattern, max_depth, /))]
pub(crate) fn _original_pattern_refusal(pattern: &str, max_depth: usize) -> Option<String> {
    original::pattern(pattern, max_depth)
        .err()
        .map(|error| error.to_string())
}

/// Why this is no pattern, if it is none.
#[pyfunction]
#[pyo3(signature = (pattern, max_depth, /))]
pub(crate) fn _pattern_refusal(pattern: &str, max_depth: usize) -> Option<String> {
    Pattern::parse(pattern, max_depth).err().map(|error| error.to_string())
}

#[pymethods]
impl TopicPattern {
    #[new]
    #[pyo3(text_signature = "(pattern)")]
    fn new(py: Python<'_>, pattern: Arg<'_, '_>) -> PyResult<Self> {
        let field = Field("TopicPattern", "pattern");
        let text = field.text(pattern.required(field)?)?;
        let pattern = Pattern::parse(text.bind(py).to_str()?, usize::MAX);
        Ok(Self {
            pattern: pattern.map_err(|error| errors::to_py(py, error.into()))?,
        })
    }

    /// The text of the pattern.
    #[getter]
    fn pattern(&self) -> &str {
        self.pattern.as_str()
    }

    /// Whether the pattern has no wildcard.
    #[getter]
    fn is_exact(&self) -> bool {
        self.pattern.is_exact()
    }

    /// Whether the pattern matches a topic.
    fn matches(&self, topic: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = topic.py();
        let text = Field("TopicPattern", "topic").text(topic.as_borrowed())?;
        let text = text.bind(py).to_str()?;
        check(text, usize::MAX).map_err(|error| errors::to_py(py, error.into()))?;
        Ok(self.pattern.matches(text))
    }

    fn __str__(&self) -> &str {
        self.pattern.as_str()
    }

    fn __repr__(&self) -> String {
        format!("TopicPattern({:?})", self.pattern.as_str())
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, (String,)) {
        (slf.get_type(), (slf.get().pattern.as_str().to_owned(),))
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, memo: &Bound<'_, PyAny>) -> Py<Self> {
        let _ = memo;
        slf
    }
}

/// Every constant of `topics` with its value.
#[pyfunction]
pub(crate) fn _topic_names() -> Vec<(&'static str, &'static str)> {
    names::ALL_NAMES.to_vec()
}
