//! How much of what was read and cannot be worked off yet all connections together may hold: frames that have not come whole, and what
//! waits for full queues.
//!
//! Model: the first [`FREE`] bytes of a frame are anybody's. For more there has to be room for all of it, which is given in the order in
//! which it was asked for; who waits for room is not read. Who has room while others wait has [`GRACE`] to send the rest.
//!
//! Guarantee: what has been read and is not worked off, or waits for full queues, takes at most [`limit`] in each room and twice [`FREE`]
//! for each connection, whatever is sent. A peer that sends its frames whole is never cut for what others hold. Frames that are whole
//! and wait for full queues keep their room until those have some, which may be long; so publishers who wait have a room of their own,
//! and nobody else waits for it.

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

/// Bytes of one room, for all connections together: a quarter of what the queues may take, and at least two of the largest frames.
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

    /// Whether half of it is free when `bytes` more are taken.
    fn leaves_half(&self, bytes: usize) -> bool {
        self.free.available_permits() >= (self.limit / 2).saturating_add(bytes)
    }

    /// What may be read at once by a connection that has room for `own` bytes and `read` bytes of a frame: no more than it has room for or
    /// could [`keep`](Claim::keep), and in any case a little.
    pub(super) fn most(&self, own: usize, read: usize, most: usize) -> usize {
        // A frame may have come up to `FREE` bytes before it has any room.
        let spare = self.free.available_permits().saturating_sub(self.limit / 2 + FREE);
        own.saturating_sub(read).max(spare).clamp(FREE, most)
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
        self.take(frame::claimed_len(pending).unwrap_or(0).max(pending.len()), true)
    }

    /// Keeps of what was given what is needed for what has been read and cannot be worked off yet, and sets aside what that takes besides;
    /// the last half is for frames that have to be completed.
    pub(super) fn keep(&mut self, bytes: usize) {
        if bytes <= FREE {
            return self.give_back();
        }
        match &mut self.given {
            Some(given) if bytes <= self.bytes => {
                drop(given.split(self.bytes - bytes));
                self.bytes = bytes;
            }
            Some(given) => {
                let more = bytes - self.bytes;
                if self.room.leaves_half(more)
                    && let Ok(more) = u32::try_from(more)
                    && let Ok(more) = Arc::clone(&self.room.free).try_acquire_many_owned(more)
                {
                    given.merge(more);
                    self.bytes = bytes;
                }
            }
            None => {
                if self.room.leaves_half(bytes) {
                    self.take(bytes, false);
                }
            }
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
    pub(super) fn blocks_others(&self) -> bool {
        self.has_room() && self.room.waiting.load(Ordering::Relaxed) > 0
    }

    /// Bytes for which it has room.
    pub(super) const fn given(&self) -> usize {
        if self.has_room() { self.bytes } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = 1 << 20;

    fn begun(size: usize, read: usize) -> Vec<u8> {
        let mut bytes = vec![0x10; read];
        bytes[..PREFIX].copy_from_slice(&u32::try_from(size - PREFIX).unwrap().to_le_bytes());
        bytes
    }

    /// Room for four of the largest frames.
    fn room() -> Arc<ReadRoom> {
        Arc::new(ReadRoom::new(16 * FRAME, FRAME - PREFIX))
    }

    #[test]
    fn it_is_a_quarter_of_the_queues_and_two_frames_at_least() {
        assert_eq!(limit(256 << 20, FRAME), 64 << 20);
        assert_eq!(limit(1, FRAME), 2 * (PREFIX + FRAME));
        assert_eq!(limit(1, 1024), 2 * (PREFIX + MAX_TEXT));
    }

    #[test]
    fn who_comes_first_has_it_first_and_small_frames_need_none() {
        let room = room();
        let mut claims: Vec<_> = (0..7).map(|_| Claim::new(&room)).collect();
        let given: Vec<_> = claims
            .iter_mut()
            .map(|claim| claim.cover(&begun(FRAME, FREE + 1)))
            .collect();
        assert_eq!(given, [true, true, true, true, false, false, false]);
        assert_eq!(room.used(), 4 * FRAME);
        assert!(claims[0].blocks_others() && !claims[4].blocks_others());
        assert!(Claim::new(&room).cover(&begun(FRAME, FREE)));
        assert_eq!(room.most(0, 0, 8 * FREE), FREE);
        assert_eq!(room.most(claims[0].given(), FREE + 1, 4 * FREE), 4 * FREE);
        // Asking again changes nothing.
        assert!(!claims[4].cover(&begun(FRAME, FREE + 2)) && claims[4].waits());
        let (given, waiting) = claims.split_at_mut(4);
        given[1].give_back();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(waiting[0].granted());
        assert!(waiting[0].has_room() && waiting[1].waits());
        // Who gives up waiting is in nobody's way, nor behind in the line.
        waiting[1].give_back();
        given[2].give_back();
        runtime.block_on(waiting[2].granted());
        assert!(waiting[2].has_room() && !given[0].blocks_others());
        drop(claims);
        assert_eq!(room.used(), 0);
    }

    #[test]
    fn what_waits_for_full_queues_keeps_its_room_and_takes_half_at_most() {
        let room = room();
        let mut whole = Claim::new(&room);
        assert!(whole.cover(&begun(FRAME, FREE + 1)));
        whole.keep(FRAME);
        assert_eq!(room.used(), FRAME);
        // With frames behind it that were read together with its end.
        let mut small = Claim::new(&room);
        assert!(small.cover(&begun(2 * FREE, FREE + 1)));
        small.keep(10 * FREE);
        assert_eq!(room.used(), FRAME + 10 * FREE);
        drop(small);
        assert_eq!(room.used(), FRAME);
        let mut read: Vec<_> = (0..40).map(|_| Claim::new(&room)).collect();
        for claim in &mut read {
            claim.keep(10 * FREE);
        }
        assert!(room.used() <= 2 * FRAME, "{}", room.used());
        let mut large = [Claim::new(&room), Claim::new(&room)];
        assert!(large.iter_mut().all(|claim| claim.cover(&begun(FRAME, FREE + 1))));
        drop(large);
        whole.keep(FREE);
        drop(read);
        assert_eq!(room.used(), 0);
    }

    #[test]
    fn what_is_left_of_a_large_frame_keeps_no_more_room_than_it_takes() {
        let room = room();
        let mut stopped: Vec<_> = (0..4).map(|_| Claim::new(&room)).collect();
        for claim in &mut stopped {
            assert!(claim.cover(&begun(FRAME, FREE + 1)));
            claim.keep(10 * FREE);
        }
        assert_eq!(room.used(), 4 * 10 * FREE);
        assert_eq!(stopped[0].given(), 10 * FREE);
    }

    #[test]
    fn nobody_reads_more_than_can_be_set_aside_for_it() {
        const SCRATCH: usize = 256 * 1024;
        let room = room();
        let mut stopped: Vec<_> = (0..100).map(|_| Claim::new(&room)).collect();
        let mut uncounted = 0;
        for claim in &mut stopped {
            let read = room.most(0, 0, SCRATCH);
            claim.keep(read);
            uncounted += read - claim.given();
        }
        assert!(uncounted <= 100 * 2 * FREE, "{uncounted}");
        assert!(room.used() <= 2 * FRAME, "{}", room.used());
    }
}
