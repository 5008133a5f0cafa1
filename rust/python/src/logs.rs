//! Rust's log on its way to Python's `logging`: a collector of `tracing` events, and a bounded ring.
//!
//! Guarantees: whoever logs neither waits nor attaches to Python; the ring holds at most [`CAPACITY`] lines and counts what finds it full;
//! text is escaped and cut here, once, so that no peer can forge a line; what Python's loggers do not want costs one comparison. The
//! ring belongs to no loop: every loop is woken, and the first to look takes all. A forked child begins with a ring of its own, since
//! threads that do not exist there may have left this one locked.
use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use daemoneye_eventbus_core::forked::PerProcess;
use daemoneye_eventbus_core::lock::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes, Id, Record as SpanRecord};
use tracing_core::subscriber::Interest;
use tracing_core::{Event, Level, LevelFilter, Metadata, Subscriber, callsite, dispatcher};

use crate::all_loops;
use crate::loop_waker::LoopWaker;

/// Lines that wait for a loop.
const CAPACITY: usize = 1024;
/// Characters of one value, and of a message.
const MAX_TEXT: usize = 300;
/// Of the names of this package's own targets; what other crates say is not ours to pass on.
const TARGET: &str = "daemoneye_eventbus";
const WARNING: i32 = 30;

/// The least level, as Python counts, that any logger of this package wants.
static LEVEL: AtomicI32 = AtomicI32::new(WARNING);
static RING: PerProcess<Mutex<Ring>> = PerProcess::new(Mutex::new(Ring::new()));

struct Ring {
    lines: VecDeque<Line>,
    lost: u64,
    /// The loops have been woken for what is in it.
    announced: bool,
}

struct Line {
    level: i32,
    area: &'static str,
    text: String,
    fields: Vec<(&'static str, Value)>,
    /// Seconds since 1970.
    time: f64,
}

#[derive(Clone, IntoPyObject)]
enum Value {
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Flag(bool),
    Text(String),
}

impl Ring {
    const fn new() -> Self {
        Self {
            lines: VecDeque::new(),
            lost: 0,
            announced: false,
        }
    }

    /// False if the loops are still to be woken for it.
    fn push(&mut self, line: Line) -> bool {
        if self.lines.len() >= CAPACITY {
            self.lost += 1;
        } else {
            self.lines.push_back(line);
        }
        std::mem::replace(&mut self.announced, true)
    }
}

/// Called in a forked child.
pub(crate) fn begin_anew() {
    RING.reset(Mutex::new(Ring::new()));
}

const fn python_level(level: Level) -> i32 {
    match level {
        Level::ERROR => 40,
        Level::WARN => WARNING,
        Level::INFO => 20,
        Level::DEBUG => 10,
        Level::TRACE => 5,
    }
}

/// The module of the core that a target names, as `daemoneye_eventbus::broker` does.
fn area(target: &'static str) -> &'static str {
    let mut parts = target.split("::");
    parts.next();
    parts.next().unwrap_or_default()
}

struct Collector;

impl Subscriber for Collector {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.is_event() && metadata.target().starts_with(TARGET) {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && metadata.target().starts_with(TARGET)
            && python_level(*metadata.level()) >= LEVEL.load(Ordering::Relaxed)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match LEVEL.load(Ordering::Relaxed) {
            ..=5 => LevelFilter::TRACE,
            6..=10 => LevelFilter::DEBUG,
            11..=20 => LevelFilter::INFO,
            21..=30 => LevelFilter::WARN,
            31..=40 => LevelFilter::ERROR,
            41.. => LevelFilter::OFF,
        })
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut fields_of_event = FieldVisitor::default();
        event.record(&mut fields_of_event);
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = Line {
            level: python_level(*metadata.level()),
            area: area(metadata.target()),
            text: fields_of_event.text(),
            fields: fields_of_event.fields,
            time: time.as_secs_f64(),
        };
        let announced = RING.get().lock().push(line);
        if !announced {
            all_loops::wake();
        }
    }

    // The core has no spans.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &SpanRecord<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// An event's message and fields, escaped and cut.
#[derive(Default)]
struct FieldVisitor {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl FieldVisitor {
    fn add(&mut self, field: &Field, value: Value) {
        match value {
            Value::Text(text) if field.name() == "message" => self.message = text,
            value => self.fields.push((field.name(), value)),
        }
    }

    fn text(&self) -> String {
        let mut text = self.message.clone();
        for (name, value) in &self.fields {
            // Said only where there is something to say.
            if *name == "suppressed" && matches!(value, Value::Unsigned(0)) {
                continue;
            }
            // Writing to a String cannot fail.
            let _written = match value {
                Value::Signed(value) => write!(text, " {name}={value}"),
                Value::Unsigned(value) => write!(text, " {name}={value}"),
                Value::Float(value) => write!(text, " {name}={value}"),
                Value::Flag(value) => write!(text, " {name}={value}"),
                Value::Text(value) if value.is_empty() || value.contains([' ', '=', '"', '\'']) => {
                    write!(text, " {name}=\"{}\"", value.replace('"', "\\\""))
                }
                Value::Text(value) => write!(text, " {name}={value}"),
            };
        }
        text
    }
}

impl Visit for FieldVisitor {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Value::Float(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::Unsigned(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::Flag(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut escaped = Escaped::default();
        // An error means that the rest was cut.
        let _cut = write!(escaped, "{value:?}");
        self.add(field, Value::Text(escaped.text));
    }
}

/// One line of text in the form of the command line's: what a terminal would obey or not show becomes `\xNN`, `\uNNNN`; a backslash two.
#[derive(Default)]
struct Escaped {
    text: String,
    characters: usize,
}

impl Write for Escaped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.characters >= MAX_TEXT {
                if self.characters == MAX_TEXT {
                    self.characters += 1;
                    self.text.push('…');
                }
                return Err(fmt::Error);
            }
            self.characters += 1;
            match character {
                '\\' => self.text.push_str("\\\\"),
                '"' | '\'' => self.text.push(character),
                // What it leaves alone can be shown.
                _ if character.escape_debug().count() == 1 => self.text.push(character),
                _ => match u32::from(character) {
                    code @ ..0x100 => write!(self.text, "\\x{code:02x}")?,
                    code @ 0x100..0x1_0000 => write!(self.text, "\\u{code:04x}")?,
                    code => write!(self.text, "\\U{code:08x}")?,
                },
            }
        }
        Ok(())
    }
}

/// Collects what the core says from now on, at `level` (as `logging` counts) and above.
#[pyfunction]
pub(crate) fn _set_log_level(level: i32) {
    static INSTALL: Once = Once::new();
    let before = LEVEL.swap(level, Ordering::Relaxed);
    INSTALL.call_once(|| {
        // The core is linked into this module alone, so nobody else can have taken the place.
        let _taken = dispatcher::set_global_default(dispatcher::Dispatch::new(Collector));
    });
    if before != level {
        callsite::rebuild_interest_cache();
    }
}

/// From now on the loop is woken for `token` when there are lines to take.
#[pyfunction]
pub(crate) fn _wake_for_logs(py: Python<'_>, waker: &LoopWaker, token: u64) -> PyResult<()> {
    all_loops::add(waker.weak(py)?, token);
    Ok(())
}

type Taken<'py> = (i32, &'static str, String, Bound<'py, PyDict>, f64);

/// The lines that wait, oldest first, each with level, area, text, fields and time; and how many found the ring full.
#[pyfunction]
pub(crate) fn _take_logs(py: Python<'_>) -> PyResult<(Vec<Taken<'_>>, u64)> {
    let (lines, lost) = {
        let mut ring = RING.get().lock();
        ring.announced = false;
        (std::mem::take(&mut ring.lines), std::mem::take(&mut ring.lost))
    };
    let mut taken = Vec::with_capacity(lines.len());
    for line in lines {
        let fields = PyDict::new(py);
        for (name, value) in line.fields {
            fields.set_item(name, value)?;
        }
        taken.push((line.level, line.area, line.text, fields, line.time));
    }
    Ok((taken, lost))
}
