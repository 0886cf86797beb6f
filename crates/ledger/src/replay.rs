//! From the log to the index: on open, and when the index fails.
//!
//! sled is believed if one of the log's last two [`Record::IndexCheckpoint`]s has the digest of what sled holds; what the log
//! has after that is replayed. In every other case its folder is deleted and filled from the log.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ibid_runtime::Disk;

use crate::index::{self, Digest, Index, IndexError, LayeredIndex, MemoryIndex, Overlay, SledIndex};
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
    /// The same, where it has checkpoints.
    pub(crate) layered: Option<Arc<LayeredIndex>>,
    pub(crate) state: IndexState,
}

impl Kept {
    fn plain(index: impl Index + 'static, state: IndexState) -> Kept {
        Kept { index: Some(Arc::new(index)), layered: None, state }
    }
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
            let walked = fill(log, &index, Sequence(1))?;
            Ok((Kept::plain(index, IndexState::Kept(kind)), true, walked))
        }
        IndexKind::Sled => match settle_sled(log, place) {
            Ok(Settled { index, rebuilt, walked }) => {
                let index = Arc::new(index);
                let kept =
                    Kept { index: Some(Arc::clone(&index) as _), layered: Some(index), state: IndexState::Kept(kind) };
                Ok((kept, rebuilt, walked))
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
    let walked = fill(log, &index, Sequence(1))?;
    Ok((Kept::plain(index, IndexState::Fallback { reason }), walked))
}

/// sled, ready to be asked.
struct Settled {
    index: LayeredIndex,
    /// It was filled from the log.
    rebuilt: bool,
    walked: Walked,
}

/// sled, as it is if the log vouches for it and then brought up to date, else filled from the log.
fn settle_sled(log: &Log, place: &SledPlace<'_>) -> Result<Settled, LedgerError> {
    let vouched = vouched(log);
    if !vouched.is_empty() {
        match place.open() {
            Ok((store, digest)) => {
                if let Some((applied, _)) = vouched.iter().find(|(_, vouched)| *vouched == digest) {
                    let index = LayeredIndex::new(Arc::new(store), digest);
                    let replayed = fill(log, &index, applied.next())?;
                    return Ok(Settled { index, rebuilt: false, walked: walk(log, replayed) });
                }
                tracing::warn!("the index is not what it was at a checkpoint");
            }
            // What is still being opened cannot be deleted.
            Err(late @ IndexError::Late { .. }) => return Err(failed(late)),
            Err(error @ IndexError::Failed(_)) => tracing::warn!(%error, "the index does not open"),
        }
    }
    place.disk.remove_dir_all(&place.path).map_err(LedgerError::read("delete the index"))?;
    let (store, _) = place.open().map_err(failed)?;
    let walked = fill(log, &store, Sequence(1))?;
    let digest = store.flush().and_then(|()| index::digest(&store)).map_err(failed)?;
    Ok(Settled { index: LayeredIndex::new(Arc::new(store), digest), rebuilt: true, walked })
}

/// How many checkpoints back sled may be: one is written to the log before sled is brought there.
const CHECKPOINTS: usize = 2;

/// The last record that sled held at each of the log's last checkpoints, and its digest then.
fn vouched(log: &Log) -> Vec<(Sequence, Digest)> {
    let read = |at: Sequence| {
        let record = log.read(at).ok()?;
        let Record::IndexCheckpoint { sequence, entries, hash } = record else { return None };
        // One of no entries speaks of no store: every store has at least the first record.
        (entries > 0).then(|| (Sequence(sequence), Digest::of(entries, hash)))
    };
    log.last_checkpoints(CHECKPOINTS).into_iter().filter_map(read).collect()
}

/// The records that sled may have to be brought up to date from: compacting leaves them.
pub(crate) fn checkpoints(log: &Log) -> Vec<Sequence> {
    log.last_checkpoints(CHECKPOINTS)
}

/// Replays the log from `from` on into `index`, which holds what was before.
pub(crate) fn fill(log: &Log, index: &dyn Index, from: Sequence) -> Result<Walked, LedgerError> {
    let mut view = Overlay::new(index);
    let mut records = 0;
    let damaged = log.scan(from, &mut |sequence, record| {
        if planted!(ReplayOffByOne) && sequence >= log.last_sequence() {
            return Ok(ControlFlow::Break(()));
        }
        records += 1;
        index::apply(&mut view, sequence, &record).map_err(failed)?;
        if view.len() >= CHANGES_MAX {
            std::mem::replace(&mut view, Overlay::new(index)).commit().map_err(failed)?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    view.commit().map_err(failed)?;
    Ok(Walked { records, damaged })
}

/// What opening the log found, and what of it was `replayed`; other bodies are verified when they are read.
fn walk(log: &Log, replayed: Walked) -> Walked {
    let mut damaged = log.damaged();
    damaged.extend(replayed.damaged.into_iter().filter(|one| !log.damaged().contains(one)));
    damaged.sort_by_key(|one| one.sequence);
    Walked { records: log.records(), damaged }
}

pub(crate) fn failed(error: IndexError) -> LedgerError {
    LedgerError::Index { detail: error.to_string() }
}
