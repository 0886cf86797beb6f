//! From the log to the index: on open, and when the index fails.
//!
//! sled is believed if the log's last record is an [`Record::IndexCheckpoint`] with the digest of what sled holds. In
//! every other case its folder is deleted and filled from the log.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ibid_runtime::Disk;

use crate::index::{self, Digest, Index, IndexError, MemoryIndex, Overlay, SledIndex};
use crate::log::{Log, Opened};
use crate::{Damaged, LedgerError, Record, Sequence};

/// Where the index over the log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexKind {
    /// In sled, in the folder's `index`: a real folder on the machine's disk.
    Sled,
    /// In memory, filled from the log by every open.
    Memory,
}

/// How the index is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexState {
    /// It is kept as was asked for.
    Kept(IndexKind),
    /// It failed. It was filled again from the log, in memory, and stays there until the ledger is opened again.
    Fallback {
        /// What happened.
        reason: String,
    },
}

/// The index in use; `None` while it is broken.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) index: Option<Arc<dyn Index>>,
    pub(crate) state: IndexState,
}

/// What the log holds, as a walk over all of it found.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) records: u64,
    pub(crate) damaged: Vec<Damaged>,
}

/// How many changes are gathered before they go into the index.
const CHANGES_MAX: usize = 4096;

/// Where and how sled is opened.
pub(crate) struct SledPlace<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) path: PathBuf,
    pub(crate) cache_bytes: u64,
    pub(crate) open_max: Duration,
}

impl SledPlace<'_> {
    fn open(&self) -> Result<(SledIndex, Digest), IndexError> {
        SledIndex::open(self.path.clone(), self.cache_bytes, self.open_max)
    }
}

/// The index over the log just opened, whether it was filled anew, and what the log holds.
///
/// # Errors
/// The log cannot be read. An index that fails is no error: memory takes its place.
pub(crate) fn settle(
    opened: &Opened,
    kind: IndexKind,
    place: &SledPlace<'_>,
) -> Result<(Kept, bool, Walked), LedgerError> {
    let log = &opened.log;
    match kind {
        IndexKind::Memory => {
            let index = MemoryIndex::default();
            let walked = fill(log, &index)?;
            Ok((Kept { index: Some(Arc::new(index)), state: IndexState::Kept(kind) }, true, walked))
        }
        IndexKind::Sled => match settle_sled(opened, place) {
            Ok((index, filled)) => {
                let kept = Kept { index: Some(Arc::new(index)), state: IndexState::Kept(kind) };
                let rebuilt = filled.is_some();
                Ok((kept, rebuilt, filled.unwrap_or_else(|| walk(log))))
            }
            Err(LedgerError::Index { detail }) => {
                let (kept, walked) = fall_back(log, detail)?;
                Ok((kept, true, walked))
            }
            Err(other) => Err(other),
        },
    }
}

/// An index in memory in place of one that failed.
///
/// # Errors
/// The log cannot be read.
pub(crate) fn fall_back(log: &Log, reason: String) -> Result<(Kept, Walked), LedgerError> {
    tracing::warn!(reason, "the index failed; it is filled from the log and kept in memory");
    let index = MemoryIndex::default();
    let walked = fill(log, &index)?;
    Ok((Kept { index: Some(Arc::new(index)), state: IndexState::Fallback { reason } }, walked))
}

/// sled, as it is if the log vouches for it, else filled from the log.
fn settle_sled(opened: &Opened, place: &SledPlace<'_>) -> Result<(SledIndex, Option<Walked>), LedgerError> {
    if let Some(vouched) = vouched(&opened.log, opened.checkpoint) {
        match place.open() {
            Ok((index, digest)) if digest == vouched => return Ok((index, None)),
            Ok(_) => tracing::warn!("the index is not what it was when the ledger was closed"),
            // What is still being opened cannot be deleted.
            Err(late @ IndexError::Late { .. }) => return Err(failed(late)),
            Err(error @ IndexError::Failed(_)) => tracing::warn!(%error, "the index does not open"),
        }
    }
    place.disk.remove_dir_all(&place.path).map_err(LedgerError::read("delete the index"))?;
    let (index, _) = place.open().map_err(failed)?;
    let walked = fill(&opened.log, &index)?;
    Ok((index, Some(walked)))
}

fn vouched(log: &Log, checkpoint: Option<Sequence>) -> Option<Digest> {
    let record = log.read(checkpoint?).ok()?;
    if let Record::IndexCheckpoint { entries, hash, .. } = record { Some(Digest { entries, hash }) } else { None }
}

/// Replays the whole log into `index`, which is empty.
fn fill(log: &Log, index: &dyn Index) -> Result<Walked, LedgerError> {
    let mut view = Overlay::new(index);
    let (mut records, mut unreadable) = (0, Vec::new());
    let mut damaged = log.scan(Sequence(1), &mut |seen| {
        if planted!(ReplayOffByOne) && seen.sequence >= log.last_sequence() {
            return Ok(ControlFlow::Break(()));
        }
        let Some(record) = Record::decode(seen.body) else {
            unreadable.push(log.unreadable(seen.sequence));
            return Ok(ControlFlow::Continue(()));
        };
        records += 1;
        index::apply(&mut view, seen.sequence, &record).map_err(failed)?;
        if view.len() >= CHANGES_MAX {
            std::mem::replace(&mut view, Overlay::new(index)).commit().map_err(failed)?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    view.commit().map_err(failed)?;
    damaged.append(&mut unreadable);
    damaged.sort_by_key(|damaged| damaged.sequence);
    Ok(Walked { records, damaged })
}

/// What opening the log found; bodies are verified when they are read.
fn walk(log: &Log) -> Walked {
    Walked { records: log.records(), damaged: log.damaged() }
}

pub(crate) fn failed(error: IndexError) -> LedgerError {
    LedgerError::Index { detail: error.to_string() }
}
