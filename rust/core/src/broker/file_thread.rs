//! What waits for the file system, on a thread of its own: one that hangs (a network's, a user's) holds up nobody's messages.
//!
//! Model: pieces of work are done one after the other, in the order in which they were given. Guarantee: nobody waits for them but a
//! start, which has a deadline if its caller has one, and for [`PATIENCE`] the end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::own_thread;

/// For the last pieces of work, however short the time for a shutdown is: a socket file should be gone when its broker is.
const PATIENCE: Duration = Duration::from_secs(1);

type Work = Box<dyn FnOnce() + Send>;

pub(super) struct FileThread(Sender<Work>);

impl FileThread {
    pub(super) fn start() -> Result<Self> {
        let (give, given) = mpsc::channel::<Work>();
        let work = move || {
            for work in given {
                let _reported = catch_unwind(AssertUnwindSafe(work));
            }
        };
        own_thread::spawn("daemoneye-files", work)
            .map_err(|cause| Error::io("start the broker's thread for files", &cause))?;
        Ok(Self(give))
    }

    pub(super) fn run(&self, work: impl FnOnce() + Send + 'static) {
        // The thread ends with this handle and not before.
        let _ = self.0.send(Box::new(work));
    }

    /// The end, when everything has been done, or is waited for no longer.
    pub(super) fn finish(self) {
        let (done, told) = mpsc::channel();
        self.run(move || drop::<Sender<()>>(done));
        let _late = told.recv_timeout(PATIENCE);
    }
}
