//! Message by message, for readers who do not take every message as it is.
//!
//! Neighbours that one reader takes for the same subscriptions still travel as one run ([`RunBuilder`]); a message is read whole at most
//! once, and only if a filter or another dialect needs it ([`LazyMessage`]).

use std::cell::OnceCell;

use bytes::Bytes;
use smallvec::SmallVec;

use super::Delivery;
use crate::broker::route::{Lane, Target};
use crate::error::Error;
use crate::event::CollectionEvent;
use crate::filter::Filters;
use crate::queue::{Content, DropReason, Run, Subscriptions};
use crate::wire::frame::{self, PREFIX};
use crate::wire::{self, Dialect, Message, Summary};

impl Delivery<'_> {
    pub(super) fn deliver_each(&mut self, targets: &[&Target], run: &Run, dialect: Dialect) {
        let Content::Frames(frames) = &run.content else { return };
        let mut builders: SmallVec<[RunBuilder<'_>; 4]> =
            targets.iter().map(|target| RunBuilder::new(target)).collect();
        let mut translations: SmallVec<[(Dialect, Result<Bytes, DropReason>); 2]> = SmallVec::new();
        let mut at = 0;
        for (frame, body) in frame::split(frames) {
            let message = LazyMessage::new(dialect, body, self.max_depth);
            translations.clear();
            for builder in &mut builders {
                let target = builder.target;
                let Some(accepted) = target.accepted(|filters| message.accepts(filters)) else {
                    continue;
                };
                let sink = &target.sink;
                if sink.dialect == dialect {
                    let lost = if body.len() > sink.max_frame {
                        Some(DropReason::TooLarge)
                    } else {
                        message.is_unreadable().then_some(DropReason::NoMemory)
                    };
                    if let Some(reason) = lost {
                        self.push_built(builder, run);
                        self.lost(target, 1, accepted, reason);
                        continue;
                    }
                    if !builder.extend(at, frame.len(), &accepted) {
                        self.push_built(builder, run);
                        builder.extend(at, frame.len(), &accepted);
                    }
                    continue;
                }
                let translated = match translations.iter().find(|(known, _)| *known == sink.dialect) {
                    Some((_, translated)) => translated.clone(),
                    None => {
                        let translated = message.translate(sink.dialect);
                        translations.push((sink.dialect, translated.clone()));
                        translated
                    }
                };
                match translated {
                    Ok(frame) if frame.len() <= PREFIX.saturating_add(sink.max_frame) => {
                        self.one(target, Run::frames(frame, 1), accepted);
                    }
                    Ok(_) => self.lost(target, 1, accepted, DropReason::TooLarge),
                    Err(reason) => self.lost(target, 1, accepted, reason),
                }
            }
            at += frame.len();
        }
        for builder in &mut builders {
            self.push_built(builder, run);
        }
    }

    /// Frames of one dialect that there was no memory for: lost for everyone in `lane` who would have taken them.
    #[cold]
    pub(in crate::broker) fn lose(&mut self, lane: &Lane, frames: &[u8], dialect: Dialect) {
        for (_, body) in frame::split(frames) {
            let message = LazyMessage::new(dialect, body, self.max_depth);
            for target in &lane.targets {
                if let Some(accepted) = target.accepted(|filters| message.accepts(filters)) {
                    self.lost(target, 1, accepted, DropReason::NoMemory);
                }
            }
        }
    }

    /// Pushes what a builder has gathered.
    fn push_built(&mut self, builder: &mut RunBuilder<'_>, run: &Run) {
        let Content::Frames(frames) = &run.content else { return };
        if let Some(subscriptions) = builder.subscriptions.take() {
            let part = Run::frames(
                frames.slice(builder.start..builder.end),
                std::mem::take(&mut builder.messages),
            );
            self.one(builder.target, part.unshared_from(run), subscriptions);
        }
    }
}

/// Why a message that could not be written in some dialect is lost: that cannot say it in so many bytes, or there is no memory.
pub(in crate::broker) const fn unwritten(error: &Error) -> DropReason {
    match error {
        // It was found well-formed before, so what cannot be read now has no memory for what it is made of.
        Error::NoMemory(_) | Error::Decode(_) => DropReason::NoMemory,
        _ => DropReason::TooLarge,
    }
}

/// Neighbouring messages of a run that one reader takes for the same subscriptions.
struct RunBuilder<'t> {
    target: &'t Target,
    start: usize,
    end: usize,
    messages: u32,
    subscriptions: Option<Subscriptions>,
}

impl<'t> RunBuilder<'t> {
    fn new(target: &'t Target) -> Self {
        Self {
            target,
            start: 0,
            end: 0,
            messages: 0,
            subscriptions: None,
        }
    }

    /// False if the message does not go with those gathered so far.
    fn extend(&mut self, at: usize, len: usize, accepted: &Subscriptions) -> bool {
        match &self.subscriptions {
            None => {
                (self.start, self.end, self.messages) = (at, at + len, 1);
                self.subscriptions = Some(accepted.clone());
                true
            }
            Some(same) if self.end == at && same == accepted => {
                self.end += len;
                self.messages += 1;
                true
            }
            Some(_) => false,
        }
    }
}

/// One message as filters and other dialects see it.
pub(super) struct LazyMessage<'a> {
    dialect: Dialect,
    body: &'a [u8],
    /// Of what was found well-formed on its way in. `None` if it is not: then it cannot be read either.
    pub(super) summary: Option<Summary<'a>>,
    read: OnceCell<Option<(Message<'a>, Option<CollectionEvent<'a>>)>>,
}

impl<'a> LazyMessage<'a> {
    pub(super) fn new(dialect: Dialect, body: &'a [u8], max_depth: usize) -> Self {
        Self {
            dialect,
            body,
            summary: wire::check(dialect, body, max_depth).ok(),
            read: OnceCell::new(),
        }
    }

    fn read(&self) -> Option<&(Message<'a>, Option<CollectionEvent<'a>>)> {
        self.read
            .get_or_init(|| wire::read(self.dialect, self.body).ok())
            .as_ref()
    }

    /// What cannot be read is accepted by every filter that would have to; see [`is_unreadable`](Self::is_unreadable).
    pub(super) fn accepts(&self, filters: &Filters) -> bool {
        let Some(summary) = &self.summary else { return true };
        filters.accept_summary(summary).unwrap_or_else(|| {
            self.read()
                .is_none_or(|(message, event)| filters.accept(message, event.as_ref()))
        })
    }

    /// A filter had to see all of it, and there was no memory for that: it was found well-formed before.
    fn is_unreadable(&self) -> bool {
        self.summary.is_none() || self.read.get().is_some_and(Option::is_none)
    }

    /// The whole frame in another dialect, or why there is none.
    fn translate(&self, dialect: Dialect) -> Result<Bytes, DropReason> {
        let mut frame = wire::translate(self.dialect, dialect, self.body).map_err(|error| unwritten(&error))?;
        // What is charged is what is held.
        frame.shrink_to_fit();
        Ok(Bytes::from(frame))
    }
}
