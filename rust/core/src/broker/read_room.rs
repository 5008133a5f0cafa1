//! How much of frames that have not come whole all connections together may hold.
//!
//! Model: the first [`FREE`] bytes of a frame are anybody's. For more there has to be room for all of it, which is given in the order in
//! which it was asked for; who waits for room is not read. Who has room while others wait has [`GRACE`] to send the rest.
//!
//! Guarantee: what has been read and is no whole frame takes at most [`limit`] and [`FREE`] for each connection, whatever is sent. A
//! peer that sends its frames whole is never cut for what others hold.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::wire::frame::{self, MAX_TEXT, PREFIX};

/// Bytes of an incomplete frame that need no room.
pub(super) const FREE: usize = 16 * 1024;
/// What a frame may take from its beginning, or from when it was given room, to its end while others wait for room.
pub(super) const GRACE: Duration = Duration::from_millis(500);

/// Bytes for all incomplete frames together: a quarter of what the queues may take, and at least two of the largest frames.
fn limit(total_queue_bytes: usize, max_frame: usize) -> usize {
    (total_queue_bytes / 4).clamp(2 * (PREFIX + max_frame.max(MAX_TEXT)), Semaphore::MAX_PERMITS)
}

pub(super) struct ReadRoom {
    free: Arc<Semaphore>,
    limit: usize,
    waiting: AtomicUsize,
}

impl ReadRoom {
    pub(super) fn new(total_queue_bytes: usize, max_frame: usize) -> Self {
        let limit = limit(total_queue_bytes, max_frame);
        Self {
            free: Arc::new(Semaphore::new(limit)),
            limit,
            waiting: AtomicUsize::new(0),
        }
    }

    /// Bytes that are set aside.
    pub(super) fn used(&self) -> usize {
        self.limit.saturating_sub(self.free.available_permits())
    }
}

/// Somebody waits while this lives.
struct Waits(Arc<ReadRoom>);

impl Waits {
    fn new(room: &Arc<ReadRoom>) -> Self {
        room.waiting.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(room))
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

type Granting = Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>;

/// One connection's part of the room.
pub(super) struct Claim {
    room: Arc<ReadRoom>,
    /// Asked for: given, or waited for.
    bytes: usize,
    given: Option<OwnedSemaphorePermit>,
    granting: Option<Granting>,
}

impl Claim {
    pub(super) fn new(room: &Arc<ReadRoom>) -> Self {
        Self {
            room: Arc::clone(room),
            bytes: 0,
            given: None,
            granting: None,
        }
    }

    /// Asks for the room that the incomplete frame at the beginning of `pending` needs, and gives back what it needs no longer. False if
    /// it has to be waited for.
    #[inline]
    pub(super) fn cover(&mut self, pending: &[u8]) -> bool {
        if pending.len() <= FREE {
            self.give_back();
            return true;
        }
        self.take(frame::claimed(pending).unwrap_or(0).max(pending.len()), true)
    }

    /// Sets aside, if there is room, what has been read and is whole.
    pub(super) fn note_whole(&mut self, bytes: usize) {
        if bytes <= FREE {
            self.give_back();
        } else {
            self.take(bytes, false);
        }
    }

    #[inline(never)]
    fn take(&mut self, bytes: usize, waits: bool) -> bool {
        let bytes = bytes.min(self.room.limit);
        if bytes == self.bytes && (self.given.is_some() || self.granting.is_some()) {
            return self.given.is_some();
        }
        self.give_back();
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.given = Arc::clone(&self.room.free).try_acquire_many_owned(permits).ok();
        self.bytes = bytes;
        if self.given.is_none() && waits {
            let (free, waits) = (Arc::clone(&self.room.free), Waits::new(&self.room));
            self.granting = Some(Box::pin(async move {
                let _waits = waits;
                free.acquire_many_owned(permits).await.ok()
            }));
        }
        self.given.is_some()
    }

    #[inline]
    pub(super) fn give_back(&mut self) {
        if self.bytes > 0 {
            (self.bytes, self.given, self.granting) = (0, None, None);
        }
    }

    pub(super) const fn waits(&self) -> bool {
        self.granting.is_some()
    }

    /// Waits for the room, if it is waited for.
    pub(super) async fn granted(&mut self) {
        if let Some(granting) = &mut self.granting {
            self.given = granting.await;
            self.granting = None;
        }
    }

    pub(super) const fn has_room(&self) -> bool {
        self.given.is_some()
    }

    /// Others wait for what this one has.
    pub(super) fn is_in_the_way(&self) -> bool {
        self.has_room() && self.room.waiting.load(Ordering::Relaxed) > 0
    }

    /// What may be read at once by a connection that has `read` bytes of a frame: with half of the room taken, little more than it has
    /// room for.
    pub(super) fn most(&self, read: usize, most: usize) -> usize {
        if self.room.free.available_permits() >= self.room.limit / 2 {
            return most;
        }
        let own = if self.has_room() { self.bytes } else { 0 };
        own.saturating_sub(read).clamp(FREE, most)
    }
}
