//! Bringing the index's store up to date, beside the writers.
//!
//! First the log is told what the store will hold, then the store takes its changes: see `index/layered.rs`.

use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;

use crate::batch::Queue;
use crate::frame::Body;
use crate::index::Frozen;
use crate::replay::Kept;
use crate::{LedgerError, Record};

/// Asks for a checkpoint when enough has changed.
pub(crate) struct Checkpoints {
    changes_max: usize,
    /// `None` where the index has no checkpoints.
    due: Option<SyncSender<()>>,
}

impl Checkpoints {
    /// Starts the thread that makes them, if the index has any.
    ///
    /// # Errors
    /// [`LedgerError::Thread`]
    pub(crate) fn start(
        changes_max: usize,
        kept: &Arc<RwLock<Kept>>,
        queue: &Arc<Queue>,
    ) -> Result<(Checkpoints, Option<JoinHandle<()>>), LedgerError> {
        if kept.read().unwrap_or_else(PoisonError::into_inner).layered.is_none() {
            return Ok((Checkpoints { changes_max, due: None }, None));
        }
        let (due, asked) = mpsc::sync_channel(1);
        let (kept, queue) = (Arc::clone(kept), Arc::clone(queue));
        let work = move || asked.into_iter().for_each(|()| make(&kept, &queue));
        let thread = std::thread::Builder::new().name("ledger-index".to_owned()).spawn(work);
        let thread = thread.map_err(|source| LedgerError::Thread { source: Arc::new(source) })?;
        Ok((Checkpoints { changes_max, due: Some(due) }, Some(thread)))
    }

    /// Looks whether one is due.
    pub(crate) fn look(&self, kept: &RwLock<Kept>) {
        let Some(due) = &self.due else { return };
        let layered = kept.read().unwrap_or_else(PoisonError::into_inner).layered.clone();
        if layered.is_some_and(|layered| layered.changed() >= self.changes_max) {
            // Full: one is being made. Gone: the ledger closes.
            let (Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(()))) = due.try_send(());
        }
    }
}

fn make(kept: &RwLock<Kept>, queue: &Queue) {
    let layered = kept.read().unwrap_or_else(PoisonError::into_inner).layered.clone();
    let Some(layered) = layered else { return };
    let frozen = match layered.freeze() {
        Ok(frozen) => frozen,
        Err(error) => return queue.reindex(error.to_string()),
    };
    // Not durable: the disk is full, or nothing is written any more. The changes stay in memory until the next time.
    let record = record(&frozen);
    let body = Body::of(&record);
    if queue.push(record, body).wait().is_err() {
        return;
    }
    if let Err(error) = layered.thaw(&frozen) {
        queue.reindex(error.to_string());
    }
}

/// What the log is told.
pub(crate) fn record(frozen: &Frozen<'_>) -> Record {
    let Frozen { digest, applied, .. } = frozen;
    Record::IndexCheckpoint { sequence: applied.0, entries: digest.entries, hash: digest.hash() }
}
