//! One connection as the loop sees it: which descriptor to watch, and what to do when it is ready.
use std::sync::Arc;

use daemoneye_eventbus_core::client::{self, Inbox, InboxOptions, Read, Reader, Sent, State};
use daemoneye_eventbus_core::filter::Filters;
#[cfg(unix)]
use daemoneye_eventbus_core::lock::Mutex;
use daemoneye_eventbus_core::queue::DropReason;
use daemoneye_eventbus_core::topic;
use daemoneye_eventbus_core::transport::Address;
#[cfg(unix)]
use daemoneye_eventbus_core::transport::Stream;
use daemoneye_eventbus_core::wire::text::Stats;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::callback::CallbackWithFallback;
use crate::config::{ClientConfigFields, QueueOptionsFields};
use crate::errors::raise;
use crate::flush_scheduled::FlushScheduled;
use crate::fork_safe::ForkSafe;
use crate::loop_waker::LoopWaker;
use crate::pending_reply::PendingReply;
use crate::source::{Receiver, Source};
use crate::types;

/// Pattern and filter-term limits are the broker's to judge; this one only keeps nonsense off the wire.
const MAX_FILTER_TERMS: usize = 64 * 1024;

#[pyclass(frozen, weakref, module = "daemoneye_eventbus._native")]
pub(crate) struct Link {
    link: ForkSafe<Arc<client::Link>>,
    /// What the loop watches; held so that the descriptor stays the same file until the loop has let go.
    #[cfg(unix)]
    watched: Mutex<Option<Arc<Stream>>>,
    pub(crate) flush: FlushScheduled,
}

impl Link {
    pub(crate) fn core(&self, py: Python<'_>) -> PyResult<&Arc<client::Link>> {
        self.link.get(py)
    }
}

const fn state_name(state: State) -> &'static str {
    match state {
        State::Connecting => "connecting",
        State::Connected => "connected",
        State::Reconnecting => "reconnecting",
        State::Closed => "closed",
    }
}

#[pymethods]
impl Link {
    /// Starts connecting; the loop is woken for `token` when state, descriptor or room changed. Unless `host_reads`, our own thread reads.
    #[new]
    fn open(
        py: Python<'_>,
        address: &crate::address::Address,
        config: ClientConfigFields,
        waker: &LoopWaker,
        token: u64,
        host_reads: bool,
    ) -> PyResult<Self> {
        let config = raise(py, config.into_core())?;
        let address: Address = address.core().clone();
        let reader = if host_reads { Reader::Host } else { Reader::Link };
        let link = raise(
            py,
            client::Link::open(address, config, reader, waker.for_token(py, token)?),
        )?;
        Ok(Self {
            link: ForkSafe::new(Arc::new(link)),
            #[cfg(unix)]
            watched: Mutex::new(None),
            flush: FlushScheduled::default(),
        })
    }

    #[getter]
    fn state(&self, py: Python<'_>) -> PyResult<&'static str> {
        Ok(state_name(self.core(py)?.state()))
    }

    fn next_change(&self, py: Python<'_>) -> PyResult<Option<&'static str>> {
        Ok(self.core(py)?.next_change().map(state_name))
    }

    /// Why it is closed, as an exception to raise; `None` if its owner closed it or it is open.
    fn cause(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let cause = self.core(py)?.cause();
        Ok(cause.map(|error| crate::errors::to_py(py, error).into_value(py).into_any()))
    }

    /// The connection to watch now: its number, or `None` if there is nothing to watch.
    fn generation(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        Ok(self.core(py)?.watch().map(|(generation, _)| generation))
    }

    /// Holds the present connection for watching and gives its number and descriptor.
    #[cfg(unix)]
    fn watch(&self, py: Python<'_>) -> PyResult<Option<(u64, i32)>> {
        let target = self.core(py)?.watch();
        let mut watched = self.watched.lock();
        *watched = target.as_ref().map(|(_, stream)| Arc::clone(stream));
        Ok(target.map(|(generation, stream)| (generation, stream.raw_fd())))
    }

    /// Ends the link because the loop refuses to watch its descriptor.
    fn cannot_watch(&self, py: Python<'_>, cause: String, errno: Option<i32>) -> PyResult<()> {
        self.core(py)?.cannot_watch(cause, errno);
        Ok(())
    }

    /// The descriptor is readable. True if what to watch may have changed.
    fn on_readable(&self, py: Python<'_>, waker: &LoopWaker) -> PyResult<bool> {
        waker.suppress(py)?;
        Ok(self.core(py)?.on_readable() != Read::Open)
    }

    /// Goes on after a full blocking subscription has room again. True if it is still full.
    fn resume(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.core(py)?.resume() == Read::Paused)
    }

    /// `flush` as a callback for the loop's next turn; if the loop drops it, the link's own thread writes.
    fn with_fallback(slf: Bound<'_, Self>, flush: Py<PyAny>) -> CallbackWithFallback {
        let handle = slf.unbind();
        CallbackWithFallback::new(flush, move || {
            let handle = handle.get();
            if let Some(link) = handle.link.try_get() {
                handle.flush.clear();
                link.flush_elsewhere();
            }
        })
    }

    /// The scheduled flush. `None` if it is done, true if the descriptor must be watched for writing, false to come again in the next
    /// turn.
    fn flush(&self, py: Python<'_>) -> PyResult<Option<bool>> {
        // First, so that whoever publishes during it, or after a panic in it, schedules another.
        self.flush.clear();
        let sent = self.core(py)?.flush();
        if sent == Sent::Buffered {
            self.flush.schedule();
        }
        Ok(match sent {
            Sent::Buffered => Some(false),
            Sent::Blocked => Some(true),
            Sent::Written | Sent::Waiting | Sent::Full => None,
        })
    }

    /// The descriptor is writable. True if it must be watched for writing further on.
    fn on_writable(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.core(py)?.on_writable() == Sent::Blocked)
    }

    /// The queue of a new subscription; the loop is woken for `token` when it has something for a waiting reader.
    fn inbox(
        &self,
        py: Python<'_>,
        spec: &Bound<'_, PyAny>,
        options: QueueOptionsFields,
        waker: &LoopWaker,
        token: u64,
    ) -> PyResult<Source> {
        let link = self.core(py)?;
        let (limits, overflow, block) = raise(py, options.into_core())?;
        let asked = types::subscription(spec)?;
        let depth = link.max_topic_depth();
        let patterns = raise(py, topic::subscription_patterns(&asked, depth))?;
        let filters = raise(
            py,
            Filters::compile(
                asked.event_filter.as_ref(),
                asked.correlation_filter.as_ref(),
                MAX_FILTER_TERMS,
                depth,
            ),
        )?;
        let options = InboxOptions {
            limits,
            overflow,
            block,
        };
        let inbox = Arc::new(Inbox::new(
            asked,
            patterns.clone(),
            filters,
            options,
            waker.for_token(py, token)?,
        ));
        Ok(Source::new(Receiver::Inbox(inbox), patterns, link.config().dialect))
    }

    /// Subscribes with the queue of `source`; returns the id, and the broker's answer when it comes.
    fn subscribe(
        &self,
        py: Python<'_>,
        source: &Source,
        waker: &LoopWaker,
        token: u64,
    ) -> PyResult<(u64, PendingReply)> {
        let (reply, question) = PendingReply::for_link(py, waker, token)?;
        let inbox = source.inbox(py)?;
        let id = raise(py, self.core(py)?.subscribe(inbox, question))?;
        Ok((id, reply))
    }

    /// Ends the subscription `id` with the queue of `source`; what waits in it is kept for its reader unless `discard`.
    fn unsubscribe(
        &self,
        py: Python<'_>,
        id: u64,
        source: &Source,
        discard: bool,
        waker: &LoopWaker,
        token: u64,
    ) -> PyResult<PendingReply> {
        let (reply, question) = PendingReply::for_link(py, waker, token)?;
        let reason = discard.then_some(DropReason::Closed);
        self.core(py)?.unsubscribe(id, &*source.inbox(py)?, question, reason);
        Ok(reply)
    }

    /// Answered when it is connected, or with why it is not within `connect_timeout`.
    fn wait_connected(&self, py: Python<'_>, waker: &LoopWaker, token: u64) -> PyResult<PendingReply> {
        let (reply, question) = PendingReply::for_link(py, waker, token)?;
        self.core(py)?.wait_connected(question);
        Ok(reply)
    }

    /// Answered when everything published so far has been routed.
    fn ping(&self, py: Python<'_>, waker: &LoopWaker, token: u64) -> PyResult<PendingReply> {
        let (reply, question) = PendingReply::for_link(py, waker, token)?;
        self.core(py)?.ping(question);
        Ok(reply)
    }

    /// Answered with the broker's statistics.
    fn statistics(&self, py: Python<'_>, waker: &LoopWaker, token: u64) -> PyResult<PendingReply> {
        let (reply, question) = PendingReply::for_link(py, waker, token)?;
        self.core(py)?.statistics(Stats::default(), question);
        Ok(reply)
    }

    /// Answered with the fields of `BrokerStatistics`, or as `statistics` by a broker that does not tell them.
    fn broker_statistics(&self, py: Python<'_>, waker: &LoopWaker, token: u64) -> PyResult<PendingReply> {
        let (reply, question) = PendingReply::for_link(py, waker, token)?;
        let asked = Stats {
            detail: true,
            ..Stats::default()
        };
        self.core(py)?.statistics(asked, question);
        Ok(reply)
    }

    /// Answered with the fields of some `ClientInfo` with ids above `after`, and whether there are more; or as `statistics`.
    fn clients(&self, py: Python<'_>, after: Option<&str>, waker: &LoopWaker, token: u64) -> PyResult<PendingReply> {
        let after = after.map(|id| crate::broker::client_id(py, id)).transpose()?;
        let (reply, question) = PendingReply::for_link(py, waker, token)?;
        let asked = Stats {
            clients: true,
            after,
            ..Stats::default()
        };
        self.core(py)?.statistics(asked, question);
        Ok(reply)
    }

    /// Leaves writing what is buffered to the supervisor.
    fn write_elsewhere(&self, py: Python<'_>) -> PyResult<()> {
        self.core(py)?.flush_elsewhere();
        Ok(())
    }

    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        self.core(py)?.leave();
        Ok(())
    }

    /// Ends it at once; what the kernel has for its subscriptions is delivered or counted.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.core(py)?.close();
        Ok(())
    }

    /// As `close` for what was forgotten: what was accepted is sent, if its broker takes it soon; what is not is logged.
    fn forget(&self, py: Python<'_>) -> PyResult<()> {
        self.core(py)?.forget();
        Ok(())
    }

    /// Messages accepted and not wholly with the kernel; 0 in a forked child.
    #[getter]
    fn unsent(&self) -> u64 {
        self.link.try_get().map_or(0, |link| link.local_statistics().unsent)
    }

    /// The counters of the connection; each bus has those of its own publishes and subscriptions.
    fn statistics_of_connection<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let numbers = self.core(py)?.local_statistics();
        let all = PyDict::new(py);
        all.set_item("refused", numbers.refused)?;
        all.set_item("unconfirmed", numbers.unconfirmed)?;
        all.set_item("unsent", numbers.unsent)?;
        all.set_item("reconnects", numbers.reconnects)?;
        all.set_item("decode_errors", numbers.decode_errors)?;
        Ok(all)
    }
}
