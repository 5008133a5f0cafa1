//! `CorrelationMetadata`: who asked for what, across processes.
//!
//! The original's limits hold for what is made here; what arrives from the wire is kept as it is.
use daemoneye_eventbus_core::event::{CorrelationMetadata as View, Timestamp};
use daemoneye_eventbus_core::filter::{Glob, MAX_GLOB_BYTES};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::backing::Metadata;
use super::record::Record;
use crate::args::{Arg, Field, Origin};
use crate::errors::raise;
use crate::mapping::{self, Entries, FrozenMap, Limits};
use crate::timestamp;

pub(crate) const MAX_ID: usize = 256;
const MAX_STAGE: usize = 128;
const TAGS: Limits = Limits {
    entries: 64,
    key: 128,
    value: 1024,
};

const fn field(name: &'static str) -> Field {
    Field("CorrelationMetadata", name)
}

/// Relates messages to the work that caused them, across processes.
#[pyclass(frozen, extends = Record, module = "daemoneye_eventbus")]
pub(crate) struct CorrelationMetadata {
    /// Id of this piece of work.
    #[pyo3(get)]
    correlation_id: Py<PyString>,
    parent_correlation_id: Option<Py<PyString>>,
    /// Id of the work that everything began with; its own id for a root, which is the default.
    #[pyo3(get)]
    root_correlation_id: Py<PyString>,
    sequence_number: u64,
    workflow_stage: Option<Py<PyString>>,
    correlation_tags: Metadata,
    created_at: Timestamp,
}

fn text(field: Field, ob: Borrowed<'_, '_, PyAny>, limit: usize, origin: Origin) -> PyResult<Py<PyString>> {
    match origin {
        Origin::Caller => field.short_text(ob, limit),
        Origin::Pickle => field.text(ob),
    }
}

impl CorrelationMetadata {
    /// From the constructor's arguments in the order of the fields.
    pub(crate) fn build(py: Python<'_>, arguments: &[Arg<'_, '_>; 7], origin: Origin) -> PyResult<Self> {
        let &[id, parent, root, sequence, stage, tags, created] = arguments;
        let correlation_id = text(
            field("correlation_id"),
            id.required(field("correlation_id"))?,
            MAX_ID,
            origin,
        )?;
        let parent = parent
            .optional()
            .map(|ob| text(field("parent_correlation_id"), ob, MAX_ID, origin));
        let root = match root.optional() {
            Some(ob) => text(field("root_correlation_id"), ob, MAX_ID, origin)?,
            None => correlation_id.clone_ref(py),
        };
        let stage = stage
            .optional()
            .map(|ob| text(field("workflow_stage"), ob, MAX_STAGE, origin));
        let created = created
            .optional()
            .map(|ob| timestamp::take(field("created_at"), ob, origin));
        Ok(Self {
            correlation_id,
            parent_correlation_id: parent.transpose()?,
            root_correlation_id: root,
            sequence_number: sequence
                .present()
                .map_or(Ok(0), |ob| field("sequence_number").u64(ob))?,
            workflow_stage: stage.transpose()?,
            correlation_tags: Metadata::take(field("correlation_tags"), tags, TAGS, origin)?,
            created_at: created.unwrap_or_else(|| Ok(Timestamp::now()))?,
        })
    }

    /// A copy of decoded metadata.
    pub(crate) fn of_view(py: Python<'_>, view: &View<'_>) -> PyResult<Self> {
        let text = |text: &str| PyString::new(py, text).unbind();
        Ok(Self {
            correlation_id: text(view.correlation_id),
            parent_correlation_id: view.parent_correlation_id.map(text),
            root_correlation_id: text(view.root_correlation_id),
            sequence_number: view.sequence_number,
            workflow_stage: view.workflow_stage.map(text),
            correlation_tags: Metadata::of_map(py, &view.correlation_tags)?,
            created_at: view.created_at,
        })
    }

    /// What a publish with nothing but an id carries.
    pub(crate) fn fresh(py: Python<'_>, id: Py<PyString>, created_at: Timestamp) -> Self {
        Self {
            correlation_id: id.clone_ref(py),
            parent_correlation_id: None,
            root_correlation_id: id,
            sequence_number: 0,
            workflow_stage: None,
            correlation_tags: Metadata::empty(),
            created_at,
        }
    }

    pub(crate) fn into_object(self, py: Python<'_>) -> PyResult<Py<Self>> {
        super::made(py, self)
    }

    pub(crate) fn id(&self) -> &Py<PyString> {
        &self.correlation_id
    }

    /// What the encoder takes, borrowed.
    pub(crate) fn view<'a>(&'a self, py: Python<'a>) -> PyResult<View<'a>> {
        let optional = |text: &'a Option<Py<PyString>>| text.as_ref().map(|text| text.bind(py).to_str()).transpose();
        Ok(View {
            correlation_id: self.correlation_id.bind(py).to_str()?,
            parent_correlation_id: optional(&self.parent_correlation_id)?,
            root_correlation_id: self.root_correlation_id.bind(py).to_str()?,
            sequence_number: self.sequence_number,
            workflow_stage: optional(&self.workflow_stage)?,
            correlation_tags: self.correlation_tags.entries(py)?,
            created_at: self.created_at,
        })
    }

    fn clone_ref(&self, py: Python<'_>, tags: Entries) -> Self {
        let optional = |text: &Option<Py<PyString>>| text.as_ref().map(|text| text.clone_ref(py));
        Self {
            correlation_id: self.correlation_id.clone_ref(py),
            parent_correlation_id: optional(&self.parent_correlation_id),
            root_correlation_id: self.root_correlation_id.clone_ref(py),
            sequence_number: self.sequence_number,
            workflow_stage: optional(&self.workflow_stage),
            correlation_tags: Metadata::of_entries(tags),
            created_at: self.created_at,
        }
    }

    fn tags(&self, py: Python<'_>) -> Entries {
        let given = self.correlation_tags.given().iter();
        given
            .map(|(key, value)| (key.clone_ref(py), value.clone_ref(py)))
            .collect()
    }
}

#[pymethods]
impl CorrelationMetadata {
    #[new]
    #[pyo3(
        signature = (correlation_id, parent_correlation_id = Arg::MISSING, root_correlation_id = Arg::MISSING, sequence_number = Arg::MISSING, workflow_stage = Arg::MISSING, correlation_tags = Arg::MISSING, created_at = Arg::MISSING),
        text_signature = "(correlation_id, parent_correlation_id=None, root_correlation_id=None, sequence_number=0, workflow_stage=None, correlation_tags={}, created_at=None)"
    )]
    #[expect(clippy::too_many_arguments, reason = "one for each field")]
    fn new(
        py: Python<'_>,
        correlation_id: Arg<'_, '_>,
        parent_correlation_id: Arg<'_, '_>,
        root_correlation_id: Arg<'_, '_>,
        sequence_number: Arg<'_, '_>,
        workflow_stage: Arg<'_, '_>,
        correlation_tags: Arg<'_, '_>,
        created_at: Arg<'_, '_>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let arguments = [
            correlation_id,
            parent_correlation_id,
            root_correlation_id,
            sequence_number,
            workflow_stage,
            correlation_tags,
            created_at,
        ];
        Ok(PyClassInitializer::from(Record).add_subclass(Self::build(py, &arguments, Origin::Caller)?))
    }

    #[classattr]
    #[pyo3(name = "__match_args__")]
    const FIELDS: (&str, &str, &str, &str, &str, &str, &str) = (
        "correlation_id",
        "parent_correlation_id",
        "root_correlation_id",
        "sequence_number",
        "workflow_stage",
        "correlation_tags",
        "created_at",
    );

    /// Id of the work that caused it; ``None`` for a root.
    #[getter]
    fn parent_correlation_id<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyString>> {
        self.parent_correlation_id.as_ref().map(|text| text.bind(py).clone())
    }

    /// Position among its siblings, 0 to 2**64 - 1.
    #[getter]
    fn sequence_number(&self) -> u64 {
        self.sequence_number
    }

    /// Stage of its workflow, or ``None``.
    #[getter]
    fn workflow_stage<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyString>> {
        self.workflow_stage.as_ref().map(|text| text.bind(py).clone())
    }

    /// Anything else, as text keys and values.
    #[getter]
    fn correlation_tags(&self, py: Python<'_>) -> PyResult<Py<FrozenMap>> {
        Ok(self.correlation_tags.get(py)?.clone_ref(py))
    }

    /// When it was created, by default now; any aware ``datetime`` is accepted.
    #[getter]
    fn created_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        timestamp::to_py(py, self.created_at, "created_at")
    }

    /// Nanoseconds since 1970, also beyond year 9999.
    #[getter]
    fn created_at_ns(&self) -> u128 {
        timestamp::nanoseconds(self.created_at)
    }

    /// Metadata of work that this work caused: same root, stage and tags, this id as parent, sequence 0, new time.
    fn create_child(&self, py: Python<'_>, correlation_id: &Bound<'_, PyAny>) -> PyResult<Py<Self>> {
        let mut child = self.clone_ref(py, self.tags(py));
        child.correlation_id = field("correlation_id").short_text(correlation_id.as_borrowed(), MAX_ID)?;
        child.parent_correlation_id = Some(self.correlation_id.clone_ref(py));
        child.sequence_number = 0;
        child.created_at = Timestamp::now();
        child.into_object(py)
    }

    /// A copy in another stage of its workflow.
    fn with_stage(&self, py: Python<'_>, stage: &Bound<'_, PyAny>) -> PyResult<Py<Self>> {
        let mut copy = self.clone_ref(py, self.tags(py));
        copy.workflow_stage = Some(field("workflow_stage").short_text(stage.as_borrowed(), MAX_STAGE)?);
        copy.into_object(py)
    }

    /// A copy with one more tag, or with another value for it.
    fn with_tag(&self, py: Python<'_>, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<Py<Self>> {
        let tag = field("correlation_tags");
        let given = key;
        let key = tag
            .short_text(key.as_borrowed(), TAGS.key)
            .map_err(|error| mapping::of_key(tag, py, &error))?;
        let value = tag
            .short_text(value.as_borrowed(), TAGS.value)
            .map_err(|error| mapping::at_key(tag, given, &error))?;
        let mut tags = self.tags(py);
        let wanted = key.bind(py).to_str()?;
        let mut found = None;
        for (index, (present, _)) in tags.iter().enumerate() {
            if present.bind(py).to_str()? == wanted {
                found = Some(index);
            }
        }
        if found.is_none() && tags.len() >= TAGS.entries {
            return Err(tag.value_error(format_args!("{} tags are the limit; leave one out", TAGS.entries)));
        }
        match found.and_then(|index| tags.get_mut(index)) {
            Some(entry) => entry.1 = value,
            None => tags.push((key, value)),
        }
        self.clone_ref(py, tags).into_object(py)
    }

    /// Whether the id, the parent's or the root's is `pattern`, in which `*` stands for any run of characters.
    fn matches_pattern(&self, py: Python<'_>, pattern: &Bound<'_, PyAny>) -> PyResult<bool> {
        let field = Field("matches_pattern", "pattern");
        let pattern = field.short_text(pattern.as_borrowed(), MAX_GLOB_BYTES)?;
        let pattern = raise(py, Glob::parse(pattern.bind(py).to_str()?))?;
        Ok(pattern.matches_correlation(&self.view(py)?))
    }
}
