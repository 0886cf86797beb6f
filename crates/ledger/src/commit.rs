//! The commit thread: everything that waits becomes one group, one write, one sync; then the index, then the answers.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

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
    pub(crate) log: Arc<Log>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) kept: Arc<RwLock<Kept>>,
    pub(crate) stats: Arc<Mutex<Stats>>,
    /// Whoever brings the index's store up to date.
    pub(crate) checkpoints: Checkpoints,
    /// The sequence of the checkpoint that the log ends with, if it does.
    pub(crate) checkpoint: Option<Sequence>,
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
    /// The last checkpoint could not be written.
    pub(crate) fn run(mut self) -> Result<(), LedgerError> {
        let _abandon = Abandon(Arc::clone(&self.queue));
        loop {
            match self.queue.next() {
                Work::Group(entries) => self.commit(entries),
                Work::Reindex { reason } => self.reindex(reason),
                Work::Seal { done } => {
                    // Whoever asked may have left.
                    let _ = done.send(self.seal());
                }
                Work::Close => return self.checkpoint(),
            }
        }
    }

    fn commit(&mut self, entries: Vec<Entry>) {
        let bodies: Vec<&Body> = entries.iter().map(|entry| &entry.body).collect();
        let written = self.writer.write(&bodies);
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = self.writer.stats();
        let answers: Vec<Result<Sequence, LedgerError>> = match written {
            Ok(first) => {
                if let Err(error) = self.index(&entries, first) {
                    // The records are durable all the same.
                    self.reindex(error.to_string());
                }
                self.checkpoints.look(&self.kept);
                sequences(first).take(entries.len()).map(Ok).collect()
            }
            Err(error) => {
                if let WriteError::Broken(source) = &error {
                    tracing::error!(%source, "a write to the log failed; nothing is accepted until it is reopened");
                    self.queue.poison();
                }
                entries.iter().map(|_| Err(error.clone().into())).collect()
            }
        };
        self.queue.release(batch::bytes_of(&entries));
        entries.into_iter().zip(answers).for_each(|(entry, answer)| entry.answer(answer));
    }

    fn seal(&mut self) -> Result<(), LedgerError> {
        if self.queue.is_poisoned() {
            return Err(LedgerError::Poisoned);
        }
        let sealed = self.writer.seal();
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = self.writer.stats();
        if let Err(WriteError::Broken(source)) = &sealed {
            tracing::error!(%source, "a write to the log failed; nothing is accepted until it is reopened");
            self.queue.poison();
        }
        sealed.map_err(LedgerError::from)
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

    /// Notes in the log what the index's store is about to hold, so that the next open may believe it.
    fn checkpoint(&mut self) -> Result<(), LedgerError> {
        let sequence = self.writer.sequence();
        if self.queue.is_poisoned() || self.checkpoint == Some(sequence) {
            return Ok(());
        }
        let layered = self.kept.read().unwrap_or_else(PoisonError::into_inner).layered.clone();
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
