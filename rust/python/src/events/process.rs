//! `ProcessEvent`.
use daemoneye_eventbus_core::event::{CollectionEvent, Map, ProcessEvent as View, Timestamp, Walk};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::backing::{Backing, Payload, mismatch};
use super::record::Record;
use crate::args::{Arg, Field, Origin};
use crate::mapping::FrozenMap;
use crate::text::{Text, as_optional_str};
use crate::timestamp;

/// A process as a collector saw it.
#[pyclass(frozen, extends = Record, module = "daemoneye_eventbus")]
pub(crate) struct ProcessEvent {
    pid: u32,
    name: Text,
    command_line: Option<Text>,
    executable_path: Option<Text>,
    ppid: Option<u32>,
    start_time: Option<Timestamp>,
    backing: Backing,
}

impl ProcessEvent {
    /// From the constructor's arguments in the order of the fields.
    pub(crate) fn build(arguments: &[Arg<'_, '_>; 7], origin: Origin) -> PyResult<Self> {
        let field = |name| Field("ProcessEvent", name);
        let &[pid, name, command_line, executable_path, ppid, start_time, metadata] = arguments;
        Ok(Self {
            pid: field("pid").u32(pid.required(field("pid"))?)?,
            name: Text::required(field("name"), name)?,
            command_line: Text::optional(field("command_line"), command_line)?,
            executable_path: Text::optional(field("executable_path"), executable_path)?,
            ppid: ppid.optional().map(|ob| field("ppid").u32(ob)).transpose()?,
            start_time: start_time
                .optional()
                .map(|ob| timestamp::take(field("start_time"), ob, origin))
                .transpose()?,
            backing: Backing::take("ProcessEvent", metadata, origin)?,
        })
    }

    /// A copy of a decoded event.
    pub(crate) fn of_view(py: Python<'_>, view: &View<&str, Map<'_>>) -> PyResult<Self> {
        Ok(Self {
            pid: view.pid,
            name: Text::new(py, view.name),
            command_line: view.command_line.map(|text| Text::new(py, text)),
            executable_path: view.executable_path.map(|text| Text::new(py, text)),
            ppid: view.ppid,
            start_time: view.start_time,
            backing: Backing::of_map(py, &view.metadata)?,
        })
    }

    /// An event that stays in its frame; `view` borrows from it.
    pub(crate) fn of_wire<T: AsRef<[u8]>>(py: Python<'_>, view: &View<T, Walk>, payload: Payload) -> PyResult<Self> {
        let body = payload.body(py);
        Ok(Self {
            pid: view.pid,
            name: Text::wire(body, view.name.as_ref())?,
            command_line: Text::wire_optional(body, view.command_line.as_ref())?,
            executable_path: Text::wire_optional(body, view.executable_path.as_ref())?,
            ppid: view.ppid,
            start_time: view.start_time,
            backing: Backing::Received(payload),
        })
    }

    /// What the encoder takes: borrowed from the objects and the frame.
    pub(crate) fn view<'a>(&'a self, py: Python<'a>) -> PyResult<CollectionEvent<'a>> {
        if let Some(payload) = self.backing.payload() {
            return match payload.decode(py)? {
                event @ CollectionEvent::Process(_) => Ok(event),
                _ => mismatch(),
            };
        }
        Ok(CollectionEvent::Process(View {
            pid: self.pid,
            name: self.name.as_str(py)?,
            command_line: as_optional_str(self.command_line.as_ref(), py)?,
            executable_path: as_optional_str(self.executable_path.as_ref(), py)?,
            ppid: self.ppid,
            start_time: self.start_time,
            metadata: self.backing.entries(py)?,
        }))
    }
}

#[pymethods]
impl ProcessEvent {
    #[new]
    #[pyo3(
        signature = (pid, name, command_line = Arg::MISSING, executable_path = Arg::MISSING, ppid = Arg::MISSING, start_time = Arg::MISSING, metadata = Arg::MISSING),
        text_signature = "(pid, name, command_line=None, executable_path=None, ppid=None, start_time=None, metadata={})"
    )]
    fn new(
        pid: Arg<'_, '_>,
        name: Arg<'_, '_>,
        command_line: Arg<'_, '_>,
        executable_path: Arg<'_, '_>,
        ppid: Arg<'_, '_>,
        start_time: Arg<'_, '_>,
        metadata: Arg<'_, '_>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let made = Self::build(
            &[pid, name, command_line, executable_path, ppid, start_time, metadata],
            Origin::Caller,
        )?;
        Ok(PyClassInitializer::from(Record).add_subclass(made))
    }

    #[classattr]
    #[pyo3(name = "__match_args__")]
    const FIELDS: (&str, &str, &str, &str, &str, &str, &str) = (
        "pid",
        "name",
        "command_line",
        "executable_path",
        "ppid",
        "start_time",
        "metadata",
    );

    /// Process id, 0 to 2**32 - 1.
    #[getter]
    fn pid(&self) -> u32 {
        self.pid
    }

    /// Name as the system has it; use `os_text` to make it Unicode.
    #[getter]
    fn name<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.backing.text(py, &self.name)
    }

    /// Command line as one text; ``None`` if unknown.
    #[getter]
    fn command_line<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        self.backing.optional_text(py, self.command_line.as_ref())
    }

    /// Path of the program; ``None`` if unknown.
    #[getter]
    fn executable_path<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        self.backing.optional_text(py, self.executable_path.as_ref())
    }

    /// Process id of the parent; ``None`` if unknown.
    #[getter]
    fn ppid(&self) -> Option<u32> {
        self.ppid
    }

    /// When the process started; any aware ``datetime`` is accepted, a naive one raises ``ValueError``.
    #[getter]
    fn start_time<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.start_time
            .map(|time| timestamp::to_py(py, time, "start_time"))
            .transpose()
    }

    /// Nanoseconds since 1970, also beyond year 9999.
    #[getter]
    fn start_time_ns(&self) -> Option<u128> {
        self.start_time.map(timestamp::nanoseconds)
    }

    /// Anything else that the collector reports, as text keys and values.
    #[getter]
    fn metadata(&self, py: Python<'_>) -> PyResult<Py<FrozenMap>> {
        self.backing.metadata(py)
    }
}
