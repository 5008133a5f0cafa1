//! One connection to a broker, shared by every bus that uses it.
//!
//! Model: a [`Link`] may be used by any thread. Its [`Outbox`](outbox::Outbox) holds what is published until the kernel takes
//! it, its [`Inbound`](inbound::Inbound) half turns bytes into messages for subscriptions and answers for [`Ticket`]s; neither does I/O.
//! Bytes are written by whoever publishes, as far as the kernel takes them without blocking. They are read by the *host* (an
//! event loop that watches the descriptor) through [`Link::on_readable`], so that no thread stands between the socket and the
//! reader; for a host that cannot watch, the supervisor reads ([`Reader`]). A supervisor task dials, shakes hands, keeps alive, and
//! redials.
//!
//! Guarantees: a publish that returned is sent in order unless the connection breaks; what breaks is counted (`unconfirmed`, gaps);
//! nothing is sent twice; every wait ends when the link closes.
//!
//! Where to look:
//!
//! * for a host: [`link`] (every call), [`config`], [`inbox`] (one subscription), [`ticket`] (an answer that will come), [`connection`]
//!   (the state)
//! * out: [`outbox`], with [`pings`] (what the broker has confirmed)
//! * in: [`reading`] (from the socket, into a [`read_buffer`]), [`inbound`] (from bytes to inboxes), with [`run_builder`],
//!   [`subscriptions`] and [`unsubscribes`] (asked for, and ended), [`requests`] (for statistics)
//! * the connection: [`supervisor`] with its [`timers`], [`handshake`], [`backoff`], on the thread of [`runtime`]; [`awaiting`] (who waits
//!   for it); [`shared`] (what these do to each other, and the lock order)
//! * a broker of the original at the other end: [`original`], [`unsupported`]

mod awaiting;
mod backoff;
mod config;
mod connection;
mod handshake;
mod inbound;
mod inbox;
mod link;
mod original;
mod outbox;
mod pings;
mod read_buffer;
mod reading;
mod requests;
mod run_builder;
mod runtime;
mod shared;
mod subscriptions;
mod supervisor;
mod ticket;
mod timers;
mod unsubscribes;
mod unsupported;

pub use config::{ClientConfig, Peer};
pub use connection::{Read, Reader, State};
pub use inbox::{Inbox, InboxOptions};
pub use link::{Link, LocalStatistics};
pub use outbox::Sent;
pub use runtime::{abandon_after_fork, shut_down as shut_down_runtime};
pub use ticket::{Answer, Ticket};
