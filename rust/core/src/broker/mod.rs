//! The broker: listener, sessions, and the router between them.
//!
//! Model: a broker is one thread with an event loop of its own ([`server`]), and one that waits for the file system ([`file_thread`]). Each
//! connection is a task of the loop ([`session`]) and owns one bounded queue ([`connection`]). Publishers, remote or of this process
//! ([`port`]), look up who reads a topic ([`router`]) and put runs of frames into those readers' queues ([`deliver`]) on their own
//! thread.
//!
//! Guarantees: no lock is held across a wait; a slow or hostile peer costs only itself; everything is counted ([`statistics`]); one
//! publisher's messages reach each subscription in order.
//!
//! Where to look:
//!
//! * life of a broker: [`server`] and its [`file_thread`], [`control`] (what its handles ask for), [`shared`] (phases and lock order),
//!   [`config`]
//! * who may come: [`connection_limits`], [`rate`], [`rights`], [`failed_proofs`]
//! * one connection: [`session`], [`connection`]; [`original_timing`] for peers of the original; [`spin`] (whether the thread sleeps)
//! * a bus of this process: [`port`] and [`local`] (its subscriptions), [`publish_state`] with [`sequence`], [`outgoing`] (a message as
//!   filters see it), [`pending_publish`] (one that waits), [`held_back`] (writes that wait for the end of a turn) and [`gathered`] (their
//!   runs)
//! * from a topic to its readers: [`router`], [`route`], [`route_cache`] (what one publisher remembers), [`subscription`], [`deliver`]
//! * memory: [`memory`] (what there is), [`read_room`] (frames that have not come whole); queues have a
//!   [`Budget`](crate::queue::Budget)
//! * what is counted and shown: [`registry`] and [`members`] (who is there), [`statistics`], [`watching`] (as other processes see it)

mod config;
mod connection;
mod connection_limits;
mod control;
mod deliver;
mod failed_proofs;
mod file_thread;
mod gathered;
mod held_back;
mod local;
mod members;
mod memory;
mod original_timing;
mod outgoing;
mod pending_publish;
mod port;
mod publish_state;
mod rate;
mod read_room;
mod registry;
mod rights;
mod route;
mod route_cache;
mod router;
mod sequence;
mod server;
mod session;
mod shared;
mod spin;
mod statistics;
mod subscription;
#[cfg(test)]
mod tests;
mod watching;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

pub use config::BrokerConfig;
pub use local::LocalSubscription;
pub use pending_publish::{PendingPublish, Published};
pub use port::{Caller, Port, PortOptions};
pub use rate::{Per, RateLimit};
pub use rights::Rule;
pub use statistics::{BrokerStatistics, ClientInfo, ClientKind, Refusal, Undelivered};

use self::control::Control;
use self::shared::{Phase, Shared};
use crate::error::{Error, Result};
use crate::event::EventBusStatistics;
use crate::lock::Mutex;
use crate::own_thread;
use crate::transport::{Address, PathState};
use crate::wire::text::Detail;

/// Added to "now" where a caller names a time beyond counting.
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(24 * 3600);

/// A listening socket made elsewhere.
#[cfg(unix)]
type Given = std::os::fd::OwnedFd;
#[cfg(not(unix))]
type Given = std::convert::Infallible;

/// A handle on one broker. Handles are cheap to clone; when the last is dropped, the broker is abandoned.
#[derive(Clone)]
pub struct Broker(Arc<Handle>);

struct Handle {
    address: Address,
    /// A socket that listens already, until the broker has started.
    given: Arc<Mutex<Option<Given>>>,
    shared: Arc<Shared>,
    control: Arc<Control>,
    process: u32,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker")
            .field("address", &self.0.address)
            .finish_non_exhaustive()
    }
}

impl Broker {
    /// Checks the configuration; opens nothing.
    pub fn new(address: Address, config: BrokerConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self::of(address, None, Shared::new(config)))
    }

    /// A broker on a socket that a service manager has made and listens on. Its path, mode and group are the manager's: `socket_mode`
    /// and `socket_group` do nothing, no path is checked, locked or removed. Who may talk is asked of the kernel as ever.
    #[cfg(unix)]
    pub fn from_listener(fd: std::os::fd::OwnedFd, config: BrokerConfig) -> Result<Self> {
        config.validate()?;
        let address = Address::from_path(&crate::transport::given_path(&fd)?)?;
        Ok(Self::of(address, Some(fd), Shared::new(config)))
    }

    /// With peers of the original that check at other times, so that tests need not wait for theirs.
    #[cfg(all(test, unix))]
    fn with_original_timing(
        address: Address,
        config: BrokerConfig,
        timing: original_timing::OriginalTiming,
    ) -> Result<Self> {
        config.validate()?;
        let mut shared = Shared::new(config);
        shared.original_timing = timing;
        Ok(Self::of(address, None, shared))
    }

    fn of(address: Address, given: Option<Given>, shared: Shared) -> Self {
        Self(Arc::new(Handle {
            address,
            given: Arc::new(Mutex::new(given)),
            shared: Arc::new(shared),
            control: Arc::default(),
            process: std::process::id(),
        }))
    }

    /// Starts the broker's thread. `done` is called once: from there when it listens or cannot, or at once if this broker was started
    /// before. One that could not can be started again.
    pub fn start(&self, done: impl FnOnce(Result<()>) + Send + 'static) {
        let Handle {
            address,
            given,
            shared,
            control,
            ..
        } = &*self.0;
        if !shared.advance(Phase::Starting) {
            return done(Err(Error::Lifecycle(match shared.phase() {
                Phase::Starting => "this broker is being started; wait for the end of that start",
                Phase::Running => "this broker has been started already; start each broker once",
                _ => "a broker that was shut down cannot be started again; make a new one",
            })));
        }
        // Whoever gets the box first calls it: the thread, or we if there is no thread.
        let done: Arc<Mutex<Option<server::Started>>> = Arc::new(Mutex::new(Some(Box::new(done))));
        let call = |done: &Mutex<Option<server::Started>>, result| {
            let done = done.lock().take();
            if let Some(done) = done {
                done(result);
            }
        };
        let work = {
            let (address, given, shared, control, done) = (
                address.clone(),
                Arc::clone(given),
                Arc::clone(shared),
                Arc::clone(control),
                Arc::clone(&done),
            );
            move || {
                let started = Box::new({
                    let done = Arc::clone(&done);
                    move |result| call(&done, result)
                });
                // However it ends, who waits for the start hears of it.
                let _reported = catch_unwind(AssertUnwindSafe(|| {
                    server::run(&shared, &control, &address, &given, started);
                }));
                let defect = "the broker ended by a defect while it started; please report it";
                call(&done, Err(Error::Lifecycle(defect)));
            }
        };
        if let Err(cause) = own_thread::spawn("daemoneye-broker", work) {
            drop(server::End(shared, control, given));
            call(&done, Err(Error::io("start the broker's thread", &cause)));
        }
    }

    /// Stops accepting, routes what has been read, writes what is queued and `BYE` to each client, for `timeout` at most. `done` is
    /// called once with what could not be delivered: from the broker's thread, or at once if it has ended or never began.
    pub fn shutdown(&self, timeout: Duration, done: impl FnOnce(Undelivered) + Send + 'static) {
        let deadline = Instant::now() + timeout.min(LONGEST_SHUTDOWN);
        self.0.control.stop(deadline, Box::new(done));
        self.0.finish_new();
    }

    /// Ends without waiting for anything, for the end of a process. In a forked child only marks the broker as gone: its thread
    /// is in the parent.
    pub fn abandon(&self) {
        self.0.abandon();
    }

    /// Whether clients are let in now; in a forked child never.
    pub fn is_running(&self) -> bool {
        self.0.shared.phase() == Phase::Running && self.0.process == std::process::id()
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.0.address
    }

    /// Whether new clients can find this broker; looked at once per second while it runs.
    pub fn path_state(&self) -> PathState {
        self.0.control.path_state()
    }

    /// As it was given: what memory allows may be less.
    pub fn config(&self) -> &BrokerConfig {
        &self.0.shared.config
    }

    /// What the broker and all of its queues have counted.
    pub fn statistics(&self) -> BrokerStatistics {
        self.0.shared.statistics()
    }

    /// The totals as other processes are told them.
    pub fn totals(&self) -> (EventBusStatistics, Detail) {
        let now = self.statistics();
        (now.bus, watching::detail(&now))
    }

    /// Everybody connected, buses of this process included, in no order.
    pub fn clients(&self) -> Vec<ClientInfo> {
        self.0.shared.clients()
    }

    /// Sets what a peer of the original is sent from now on, in place of what it was sent so far; nothing at all without patterns. One
    /// that reads answers only is subscribed to them when it reads.
    /// Native clients say themselves what they want. What the rules do not allow it is [`Error::PermissionRefused`].
    pub fn subscribe_client(&self, id: Uuid, patterns: &[String]) -> Result<()> {
        let shared = &self.0.shared;
        let refused = |reason: &str| Error::SubscriptionRefused {
            reason: reason.to_owned(),
            limit: 0,
        };
        let gone = || {
            refused(if shared.has_local(id) {
                "this is a bus of the broker's own process and subscribes itself; only original peers are subscribed by the broker"
            } else {
                "no such client is connected; look it up in clients()"
            })
        };
        let connection = shared.connection(id).ok_or_else(gone)?;
        let Some(held) = &connection.patterns else {
            return Err(refused(
                "this client is a native one and subscribes itself; only original peers are subscribed by the broker",
            ));
        };
        shared.memory_for_subscription()?;
        let patterns = subscription::of_original(&shared.config, patterns)?;
        let rights = connection.rights.as_ref();
        if let Some(reason) = rights.and_then(|rights| rights.refuse_subscription(&patterns)) {
            let uid = connection.peer.uid;
            return Err(Error::PermissionRefused {
                uid,
                reason,
                topic: None,
            });
        }
        let mut held = held.lock();
        // It may have been replaced meanwhile, which the lock forbids from here on.
        let connection = shared.connection(id).ok_or_else(gone)?;
        held.patterns = patterns;
        session::subscribe(shared, &connection, &held);
        Ok(())
    }

    /// Disconnects a client, telling it why. False if there is none of this id, or if it is a bus of this process: whoever has it ends it.
    pub fn disconnect_client(&self, id: Uuid) -> bool {
        let Some(connection) = self.0.shared.connection(id) else {
            return false;
        };
        connection.request_disconnect();
        true
    }

    /// A bus of this process. The broker must be running.
    pub fn port(&self, options: PortOptions) -> Result<Port> {
        Port::new(Arc::clone(&self.0.shared), options)
    }
}

impl Handle {
    /// To be called when the end was ordered: there may be no thread that obeys.
    fn finish_new(&self) {
        self.control.finish_new(&self.shared, &self.given);
    }

    fn abandon(&self) {
        if self.process == std::process::id() {
            self.control.abandon();
            self.finish_new();
        } else {
            // Locks may have been held by threads that do not exist here.
            self.shared.advance(Phase::Stopped);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.abandon();
    }
}
