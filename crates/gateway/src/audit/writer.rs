//! Recording for those who must not wait for a disk in their own thread: one thread takes all that waits, writes it by tenant,
//! and syncs once a tenant.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use futures::channel::oneshot;
use ibid_core::TenantKey;
use ibid_runtime::start_thread;

use super::{Audit, AuditError, Entry, Head, disk};

/// How much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterConfig {
    /// Entries that wait or are being written, at least 1: more are refused.
    pub queue_entries_max: usize,
}

/// An entry on its way to the disk. Dropping it does not stop the write.
#[derive(Debug)]
#[must_use = "the entry is durable only once this says so"]
pub struct Pending(oneshot::Receiver<Result<Head, AuditError>>);

impl Pending {
    /// Waits on this thread: for callers that are not async.
    ///
    /// # Errors
    /// As [`Audit::append`].
    pub fn wait(self) -> Result<Head, AuditError> {
        futures::executor::block_on(self)
    }
}

impl Future for Pending {
    type Output = Result<Head, AuditError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answer| answer.unwrap_or(Err(AuditError::Closed)))
    }
}

struct Waiting {
    tenant: TenantKey,
    entry: Entry,
    answer: oneshot::Sender<Result<Head, AuditError>>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Taken by the thread and not answered yet.
    writing: usize,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records for everybody. Dropping it writes what waits and ends its thread.
pub struct Writer {
    shared: Arc<Shared>,
    config: WriterConfig,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Writer {
    /// Starts the thread that writes to `audit`.
    ///
    /// # Errors
    /// [`AuditError::Config`], or the thread cannot be started.
    pub fn start(audit: Arc<Audit>, config: WriterConfig) -> Result<Writer, AuditError> {
        if config.queue_entries_max == 0 {
            return Err(AuditError::Config { field: "queue_entries_max", given: 0, expected: "at least 1" });
        }
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = start_thread("audit", move || write_all(&audit, &theirs)).map_err(disk("start the thread"))?;
        Ok(Writer { shared, config, thread: Some(thread) })
    }

    /// Hands `entry` over.
    ///
    /// # Errors
    /// [`AuditError::Overloaded`]: too many wait. What becomes of the entry is the [`Pending`]'s to say.
    pub fn record(&self, tenant: TenantKey, entry: Entry) -> Result<Pending, AuditError> {
        let mut queue = self.shared.lock();
        let waiting = queue.waiting.len() + queue.writing;
        if queue.closed {
            return Err(AuditError::Closed);
        }
        if waiting >= self.config.queue_entries_max {
            return Err(AuditError::Overloaded { waiting });
        }
        let (answer, pending) = oneshot::channel();
        queue.waiting.push(Waiting { tenant, entry, answer });
        drop(queue);
        self.shared.arrived.notify_one();
        Ok(Pending(pending))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.arrived.notify_one();
        if let Some(thread) = self.thread.take() {
            // It panics only on a defect; its callers see `Closed` then.
            let _ = thread.join();
        }
    }
}

fn write_all(audit: &Audit, shared: &Shared) {
    loop {
        let mut queue = shared.lock();
        while queue.waiting.is_empty() && !queue.closed {
            queue = shared.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.waiting.is_empty() {
            return;
        }
        let group = std::mem::take(&mut queue.waiting);
        queue.writing = group.len();
        drop(queue);
        let mut tenants: BTreeMap<TenantKey, (Vec<Entry>, Vec<oneshot::Sender<_>>)> = BTreeMap::new();
        for Waiting { tenant, entry, answer } in group {
            let (entries, answers) = tenants.entry(tenant).or_default();
            // One that is too large fails alone, and takes no other with it.
            match entry.encode() {
                Err(error) => drop(answer.send(Err(error))),
                Ok(_) => {
                    entries.push(entry);
                    answers.push(answer);
                }
            }
        }
        for (tenant, (entries, answers)) in tenants {
            let written = audit.append(tenant, &entries);
            for answer in answers {
                // Who asked may have left: the entry is written all the same.
                let _ = answer.send(written.as_ref().copied().map_err(AuditError::again));
            }
        }
        shared.lock().writing = 0;
    }
}
