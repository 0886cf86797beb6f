//! Records on their way to the disk: the queue between those who append and the one thread that commits.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::channel::oneshot;

use crate::frame::Body;
use crate::{LedgerError, Record, Sequence};

/// A record on its way to the disk. Dropping it does not stop the write.
#[derive(Debug)]
#[must_use = "the record is durable only once this says so"]
pub struct Pending(oneshot::Receiver<Result<Sequence, LedgerError>>);

impl Pending {
    /// Waits on this thread: for callers that are not async.
    ///
    /// # Errors
    /// As [`crate::Ledger::append`].
    pub fn wait(self) -> Result<Sequence, LedgerError> {
        futures::executor::block_on(self)
    }
}

impl Future for Pending {
    type Output = Result<Sequence, LedgerError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answer| answer.unwrap_or(Err(LedgerError::Closed)))
    }
}

/// A record that waits, and who waits for it.
pub(crate) struct Entry {
    pub(crate) record: Record,
    pub(crate) body: Body,
    answer: oneshot::Sender<Result<Sequence, LedgerError>>,
}

impl Entry {
    pub(crate) fn answer(self, result: Result<Sequence, LedgerError>) {
        // The caller may have left: the record is written all the same.
        let _ = self.answer.send(result);
    }
}

/// What the commit thread does next.
pub(crate) enum Work {
    /// Everything that waits, in order.
    Group(Vec<Entry>),
    /// A reader found the index broken.
    Reindex { reason: String },
    /// The last segment is to be full.
    Seal { done: oneshot::Sender<Result<(), LedgerError>> },
    /// Nothing waits and nothing more will come.
    Close,
}

/// Whether records are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    Closing,
    Closed,
}

/// Records that wait, bounded by the bytes of their bodies.
pub(crate) struct Queue {
    bytes_max: u64,
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

struct Waiting {
    entries: Vec<Entry>,
    /// Of bodies that wait or are being written.
    bytes: u64,
    gate: Gate,
    poisoned: bool,
    reindex: Option<String>,
    seal: Vec<oneshot::Sender<Result<(), LedgerError>>>,
}

impl Waiting {
    /// Makes room for a body.
    fn admit(&mut self, body_bytes: u64, bytes_max: u64) -> Result<(), LedgerError> {
        match self.gate {
            Gate::Closing | Gate::Closed => Err(LedgerError::Closed),
            Gate::Open if self.poisoned => Err(LedgerError::Poisoned),
            Gate::Open if self.bytes > 0 && self.bytes + body_bytes > bytes_max => {
                Err(LedgerError::Overloaded { queued_bytes: self.bytes })
            }
            Gate::Open => {
                self.bytes += body_bytes;
                Ok(())
            }
        }
    }
}

impl Queue {
    pub(crate) fn new(bytes_max: u64) -> Queue {
        let waiting = Waiting {
            entries: Vec::new(),
            bytes: 0,
            gate: Gate::Open,
            poisoned: false,
            reindex: None,
            seal: Vec::new(),
        };
        Queue { bytes_max, waiting: Mutex::new(waiting), arrived: Condvar::new() }
    }

    /// Takes `record` with its `body` in, or answers at once why not. Bodies are made in the callers' threads: the commit
    /// thread only puts headers in front of them.
    pub(crate) fn push(&self, record: Record, body: Result<Body, LedgerError>) -> Pending {
        let (answer, pending) = oneshot::channel();
        let admitted = body.and_then(|body| {
            let mut waiting = self.lock();
            waiting.admit(body.bytes().len() as u64, self.bytes_max)?;
            Ok((waiting, body))
        });
        match admitted {
            Ok((mut waiting, body)) => {
                waiting.entries.push(Entry { record, body, answer });
                drop(waiting);
                self.arrived.notify_one();
            }
            Err(error) => {
                // The receiver is `pending`.
                let _ = answer.send(Err(error));
            }
        }
        Pending(pending)
    }

    /// Waits for work.
    pub(crate) fn next(&self) -> Work {
        let mut waiting = self.lock();
        loop {
            if let Some(reason) = waiting.reindex.take() {
                return Work::Reindex { reason };
            }
            if let Some(done) = waiting.seal.pop() {
                return Work::Seal { done };
            }
            if !waiting.entries.is_empty() {
                return Work::Group(std::mem::take(&mut waiting.entries));
            }
            if waiting.gate != Gate::Open {
                return Work::Close;
            }
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Makes room: `bytes` of bodies are written, or given up.
    pub(crate) fn release(&self, bytes: u64) {
        self.lock().bytes -= bytes;
    }

    /// A write failed: nothing is accepted any more, and what waits is refused.
    pub(crate) fn poison(&self) {
        let mut waiting = self.lock();
        waiting.poisoned = true;
        waiting.bytes = waiting.bytes.saturating_sub(bytes_of(&waiting.entries));
        let refused = std::mem::take(&mut waiting.entries);
        for done in waiting.seal.drain(..) {
            // Whoever asked may have left.
            let _ = done.send(Err(LedgerError::Poisoned));
        }
        drop(waiting);
        refused.into_iter().for_each(|entry| entry.answer(Err(LedgerError::Poisoned)));
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.lock().poisoned
    }

    /// A reader found the index broken.
    pub(crate) fn reindex(&self, reason: String) {
        self.lock().reindex = Some(reason);
        self.arrived.notify_one();
    }

    /// Asks for the last segment to be sealed.
    pub(crate) fn seal(&self) -> oneshot::Receiver<Result<(), LedgerError>> {
        let (done, sealed) = oneshot::channel();
        let mut waiting = self.lock();
        if waiting.poisoned {
            // Whoever asks has its end.
            let _ = done.send(Err(LedgerError::Poisoned));
        } else if waiting.gate == Gate::Open {
            waiting.seal.push(done);
            drop(waiting);
            self.arrived.notify_one();
        }
        sealed
    }

    /// Lets nothing more in; what waits is still written.
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        if waiting.gate == Gate::Open {
            waiting.gate = Gate::Closing;
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// The commit thread is gone, whatever ended it: who waits learns that nobody will write.
    pub(crate) fn abandon(&self) {
        let mut waiting = self.lock();
        waiting.gate = Gate::Closed;
        waiting.entries.clear();
        waiting.seal.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of the bodies in `entries`.
pub(crate) fn bytes_of(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| entry.body.bytes().len() as u64).sum()
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("bytes_max", &self.bytes_max).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use ibid_core::KeyId;

    use super::*;

    #[test]
    fn what_is_too_much_is_refused_at_once_and_goes_in_once_there_is_room() {
        let queue = Queue::new(8);
        let record = Record::KeyRevoked { id: KeyId(u64::MAX), revoked_ms: 0 };
        let push = || queue.push(record.clone(), Body::of(&record));
        let first = push();
        let refused = push().wait();
        assert!(matches!(refused, Err(LedgerError::Overloaded { queued_bytes }) if queued_bytes > 8), "{refused:?}");

        let Work::Group(entries) = queue.next() else { panic!("one waits") };
        assert!(matches!(push().wait(), Err(LedgerError::Overloaded { .. })), "it is being written");
        queue.release(bytes_of(&entries));
        assert!(push().now_or_never().is_none());

        queue.poison();
        assert!(matches!(push().wait(), Err(LedgerError::Poisoned)));
        drop(entries);
        assert!(matches!(first.wait(), Err(LedgerError::Closed)), "nobody answered");
    }
}
