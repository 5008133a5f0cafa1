//! The readers of one topic, as a look-up found them: what whoever publishes keeps, and hands messages along.

use std::sync::{Arc, Weak};

use smallvec::SmallVec;

use crate::filter::Filters;
use crate::queue::{Queue, Subscriptions};
use crate::wire::{Dialect, MessageType, Summary};

/// Something that can hand a queue's bytes to the kernel at once.
pub(super) trait Outlet: Send + Sync {
    fn flush(&self);
}

/// One reader: a connection, or one subscription of this process.
pub(super) struct Sink {
    pub(super) id: u64,
    pub(super) queue: Arc<Queue>,
    pub(super) dialect: Dialect,
    /// Bytes of the largest frame body that it takes.
    pub(super) max_frame: usize,
    /// A peer of the original, who reads fewer topics than others.
    pub(super) original: bool,
    /// `None` for a reader of this process, who takes objects.
    pub(super) outlet: Option<Weak<dyn Outlet>>,
}

impl Sink {
    pub(super) fn is_local(&self) -> bool {
        self.outlet.is_none()
    }

    pub(super) fn flush(&self) {
        if let Some(outlet) = self.outlet.as_ref().and_then(Weak::upgrade) {
            outlet.flush();
        }
    }
}

/// One reader in a route, and which of its subscriptions match.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) sink: Arc<Sink>,
    pub(super) epoch: u64,
    /// Those without filters, by id.
    pub(super) plain: Subscriptions,
    /// By id.
    pub(super) filtered: Vec<(u64, Arc<Filters>)>,
    /// Both together, by id.
    pub(super) all: Subscriptions,
}

impl Target {
    pub(super) fn new(sink: Arc<Sink>, epoch: u64, matches: &[(u64, Option<Arc<Filters>>)]) -> Self {
        let all: Subscriptions = matches.iter().map(|(id, _)| *id).collect();
        let filtered: Vec<_> = matches
            .iter()
            .filter_map(|(id, filters)| Some((*id, Arc::clone(filters.as_ref()?))))
            .collect();
        let plain = if filtered.is_empty() {
            all.clone()
        } else {
            matches
                .iter()
                .filter(|(_, filters)| filters.is_none())
                .map(|(id, _)| *id)
                .collect()
        };
        Self {
            sink,
            epoch,
            plain,
            filtered,
            all,
        }
    }

    /// Which subscriptions take a message, asking `accepts` about each filter; `None` if none does.
    pub(super) fn accepted(&self, mut accepts: impl FnMut(&Filters) -> bool) -> Option<Subscriptions> {
        if self.filtered.is_empty() {
            return Some(self.plain.clone());
        }
        let refusing: SmallVec<[u64; 8]> = self
            .filtered
            .iter()
            .filter(|(_, filters)| !accepts(filters))
            .map(|(id, _)| *id)
            .collect();
        if refusing.len() == self.filtered.len() {
            return (!self.plain.is_empty()).then(|| self.plain.clone());
        }
        if refusing.is_empty() {
            return Some(self.all.clone());
        }
        // Both by id, so one pass does, however many there are.
        let mut refusing = refusing.iter().peekable();
        let takes = |id: &u64| refusing.next_if_eq(&id).is_none();
        Some(self.all.iter().copied().filter(takes).collect())
    }

    /// What its lists take.
    fn bytes(&self) -> usize {
        let plain = if self.plain.shares_with(&self.all) {
            0
        } else {
            self.plain.list_bytes()
        };
        size_of::<Self>() + self.all.list_bytes() + plain + size_of_val(self.filtered.as_slice())
    }

    fn is_same(&self, other: &Self) -> bool {
        self.sink.id == other.sink.id && self.epoch == other.epoch && self.all == other.all && self.plain == other.plain
    }
}

/// What the readers behind sockets have in common where each takes every message, in one dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CommonForm {
    pub(super) dialect: Dialect,
    /// The least of theirs.
    pub(super) max_frame: usize,
}

impl CommonForm {
    /// `None` if they have not, or there is none.
    fn of<'t>(readers: impl IntoIterator<Item = &'t Target>) -> Option<Self> {
        let forms = readers.into_iter().map(|target| {
            target.filtered.is_empty().then_some(Self {
                dialect: target.sink.dialect,
                max_frame: target.sink.max_frame,
            })
        });
        let both = |one: Option<Self>, two: Option<Self>| {
            let (one, two) = (one?, two?);
            (one.dialect == two.dialect).then_some(Self {
                max_frame: one.max_frame.min(two.max_frame),
                ..one
            })
        };
        forms.reduce(both)?
    }
}

/// The readers of one kind of message on one topic.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) targets: Vec<Target>,
    has_local: bool,
    has_remote: bool,
    common_form: Option<CommonForm>,
}

impl Lane {
    pub(super) fn new(targets: Vec<Target>) -> Self {
        let remote = |target: &&Target| !target.sink.is_local();
        Self {
            has_local: targets.iter().any(|target| target.sink.is_local()),
            has_remote: targets.iter().any(|target| !target.sink.is_local()),
            common_form: CommonForm::of(targets.iter().filter(remote)),
            targets,
        }
    }

    pub(super) fn target(&self, sink: u64) -> Option<&Target> {
        self.targets.iter().find(|target| target.sink.id == sink)
    }

    pub(super) const fn has_local(&self) -> bool {
        self.has_local
    }

    pub(super) const fn has_remote(&self) -> bool {
        self.has_remote
    }

    /// `None` where a message must be looked at for somebody behind a socket, or written in two dialects.
    pub(super) const fn common_form(&self) -> Option<CommonForm> {
        self.common_form
    }

    /// Those behind sockets.
    pub(super) fn remote(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().filter(|target| !target.sink.is_local())
    }

    /// The same readers but `sink`, if that is one of them.
    pub(super) fn without(&self, sink: u64) -> Option<Self> {
        self.target(sink)?;
        let targets = self.targets.iter().filter(|target| target.sink.id != sink).cloned();
        Some(Self::new(targets.collect()))
    }

    fn is_same(&self, other: &Self) -> bool {
        self.targets.len() == other.targets.len()
            && self
                .targets
                .iter()
                .zip(&other.targets)
                .all(|(one, two)| one.is_same(two))
    }
}

/// Which of a route's lanes a message takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneKind {
    /// Events and trigger requests: whoever's pattern matches.
    Everyone,
    /// Other control messages: who asked for them besides.
    Control,
}

impl LaneKind {
    pub(super) fn of(summary: &Summary<'_>) -> Self {
        match (summary.message_type, summary.event) {
            (MessageType::Event, _) | (_, Some(_)) => Self::Everyone,
            _ => Self::Control,
        }
    }
}

/// The readers of one topic.
#[derive(Default)]
pub(super) struct Route {
    pub(super) everyone: Lane,
    pub(super) control: Lane,
    status: RouteStatus,
}

/// What a route that was looked up is good for. Only one that is usable has readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum RouteStatus {
    #[default]
    Usable,
    /// Stands for topics that a publisher may not publish.
    Refused,
    /// There was no memory for the list of readers; not to be kept.
    NoMemory,
}

impl Route {
    pub(super) fn new(everyone: Vec<Target>, control: Vec<Target>) -> Self {
        Self {
            everyone: Lane::new(everyone),
            control: Lane::new(control),
            status: RouteStatus::Usable,
        }
    }

    pub(super) fn refused() -> Self {
        Self {
            status: RouteStatus::Refused,
            ..Self::default()
        }
    }

    pub(super) fn no_memory() -> Self {
        Self {
            status: RouteStatus::NoMemory,
            ..Self::default()
        }
    }

    pub(super) const fn status(&self) -> RouteStatus {
        self.status
    }

    pub(super) fn lane(&self, kind: LaneKind) -> &Lane {
        match kind {
            LaneKind::Everyone => &self.everyone,
            LaneKind::Control => &self.control,
        }
    }

    /// What its lists take.
    pub(super) fn bytes(&self) -> usize {
        let targets = self.everyone.targets.iter().chain(&self.control.targets);
        targets.map(Target::bytes).sum()
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.everyone.is_same(&other.everyone) && self.control.is_same(&other.control)
    }
}
