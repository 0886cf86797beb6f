//! The commit thread: everything that waits becomes one group, one write, one sync. A second thread brings it into the index
//! and answers, while the disk is at the next group.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use futures::channel::oneshot;

use crate::batch::{self, Entry, Queue, Work};
use crate::checkpoint::{self, Checkpoints};
use crate::frame::Body;
use crate::index::{self, Index, IndexError, Overlay};
use crate::log::{Log, WriteError, Writer};
use crate::replay::{self, Kept};
use crate::{IndexState, LedgerError, Record, Sequence, Stats};

/// What the commit thread owns, and what it shares with readers.
pub(crate) struct Committer {
    pub(crate) writer: Writer,
    pub(crate) queue: Arc<Queue>,
    pub(crate) stats: Arc<Mutex<Stats>>,
    /// The sequence of the checkpoint that the log ends with, if it does.
    pub(crate) checkpoint: Option<Sequence>,
}

/// Who follows behind the commit thread: what is durable goes into the index, and whoever waits hears of it.
pub(crate) struct Follower {
    pub(crate) log: Arc<Log>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) kept: Arc<RwLock<Kept>>,
    /// Whoever brings the index's store up to date.
    pub(crate) checkpoints: Checkpoints,
}

/// What the commit thread has done, in order.
enum Done {
    Group { entries: Vec<Entry>, written: Result<Sequence, WriteError> },
    Sealed { outcome: Result<(), LedgerError>, done: oneshot::Sender<Result<(), LedgerError>> },
    Reindex { reason: String },
}

/// Tells who waits that the thread is gone, whatever ended it.
struct Abandon(Arc<Queue>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

fn sequences(first: Sequence) -> impl Iterator<Item = Sequence> {
    (first.0..).map(Sequence)
}

impl Committer {
    /// Serves the queue until it is closed.
    ///
    /// # Errors
    /// The second thread was refused, or the last checkpoint could not be written.
    pub(crate) fn run(mut self, follower: Follower) -> Result<(), LedgerError> {
        let _abandon = Abandon(Arc::clone(&self.queue));
        let kept = Arc::clone(&follower.kept);
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new().name("ledger-acks".to_owned()).spawn(move || follower.run(receiver));
        let thread = thread.map_err(|source| LedgerError::Thread { source: Arc::new(source) })?;
        self.serve(&sender);
        drop(sender);
        join(thread)?;
        self.checkpoint(&kept)
    }

    fn serve(&mut self, follower: &Sender<Done>) {
        loop {
            let done = match self.queue.next() {
                Work::Group(entries) => {
                    let written = self.commit(&entries);
                    Done::Group { entries, written }
                }
                Work::Reindex { reason } => Done::Reindex { reason },
                Work::Seal { done } => Done::Sealed { outcome: self.seal(), done },
                Work::Close => return,
            };
            if follower.send(done).is_err() {
                // It panicked: nobody would hear of what is written from here on.
                self.queue.poison();
                return;
            }
        }
    }

    fn commit(&mut self, entries: &[Entry]) -> Result<Sequence, WriteError> {
        let bodies: Vec<&Body> = entries.iter().map(|entry| &entry.body).collect();
        let written = self.writer.write(&bodies);
        self.wrote(written)
    }

    fn seal(&mut self) -> Result<(), LedgerError> {
        if self.queue.is_poisoned() {
            return Err(LedgerError::Poisoned);
        }
        let sealed = self.writer.seal();
        Ok(self.wrote(sealed)?)
    }

    fn wrote<T>(&self, written: Result<T, WriteError>) -> Result<T, WriteError> {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = self.writer.stats();
        if let Err(WriteError::Broken(source)) = &written {
            tracing::error!(%source, "a write to the log failed; nothing is accepted until it is reopened");
            self.queue.poison();
        }
        written
    }

    /// Notes in the log what the index's store is about to hold, so that the next open may believe it.
    fn checkpoint(&mut self, kept: &RwLock<Kept>) -> Result<(), LedgerError> {
        let sequence = self.writer.sequence();
        if self.queue.is_poisoned() || self.checkpoint == Some(sequence) {
            return Ok(());
        }
        let layered = kept.read().unwrap_or_else(PoisonError::into_inner).layered.clone();
        let Some(layered) = layered else {
            // The record's other use: it says that the group before it was durable.
            let record = Record::IndexCheckpoint { sequence: sequence.0, entries: 0, hash: [0; 32] };
            self.writer.write(&[&Body::of(&record)?])?;
            return Ok(());
        };
        let frozen = match layered.freeze() {
            Ok(frozen) => frozen,
            Err(error) => {
                tracing::warn!(%error, "the index cannot be checkpointed; the next open replays more of the log");
                return Ok(());
            }
        };
        self.writer.write(&[&Body::of(&checkpoint::record(&frozen))?])?;
        if let Err(error) = layered.thaw(&frozen) {
            tracing::warn!(%error, "the index did not take its last changes; the next open replays them");
        }
        Ok(())
    }
}

fn join(thread: JoinHandle<()>) -> Result<(), LedgerError> {
    // A thread that panicked has lost track of what the index holds.
    thread.join().map_err(|_| LedgerError::Poisoned)
}

impl Follower {
    fn run(self, done: Receiver<Done>) {
        for one in done {
            match one {
                Done::Group { entries, written } => self.answer(entries, written),
                Done::Sealed { outcome, done } => {
                    // Whoever asked may have left.
                    let _ = done.send(outcome);
                }
                Done::Reindex { reason } => self.reindex(reason),
            }
        }
    }

    fn answer(&self, entries: Vec<Entry>, written: Result<Sequence, WriteError>) {
        let answers: Vec<Result<Sequence, LedgerError>> = match written {
            Ok(first) => {
                if let Err(error) = self.index(&entries, first) {
                    // The records are durable all the same.
                    self.reindex(error.to_string());
                }
                self.checkpoints.look(&self.kept);
                sequences(first).take(entries.len()).map(Ok).collect()
            }
            Err(error) => entries.iter().map(|_| Err(error.clone().into())).collect(),
        };
        self.queue.release(batch::bytes_of(&entries));
        entries.into_iter().zip(answers).for_each(|(entry, answer)| entry.answer(answer));
    }

    fn index(&self, entries: &[Entry], first: Sequence) -> Result<(), IndexError> {
        let index = self.current().ok_or_else(|| IndexError::Failed("the index is not there".to_owned()))?;
        let mut view = Overlay::new(&*index);
        for (sequence, entry) in sequences(first).zip(entries) {
            index::apply(&mut view, sequence, &entry.record)?;
        }
        view.commit()
    }

    fn current(&self) -> Option<Arc<dyn Index>> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner).index.clone()
    }

    /// Puts an index filled from the log in the place of one that failed. Nobody reads the failed one from here on.
    fn reindex(&self, reason: String) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.index.is_some() && matches!(kept.state, IndexState::Fallback { .. }) {
            // Several readers found the same failure.
            return;
        }
        (kept.index, kept.layered) = (None, None);
        drop(kept);
        match replay::fall_back(&self.log, reason) {
            Ok((fresh, _)) => *self.kept.write().unwrap_or_else(PoisonError::into_inner) = fresh,
            // The next group, or the next reader, tries again.
            Err(error) => tracing::error!(%error, "the index cannot be filled from the log"),
        }
    }
}
