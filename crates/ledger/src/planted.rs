//! Bugs planted on purpose: the simulation must find each of them. Compiled with the feature `planted` alone.

use std::sync::atomic::{AtomicU8, Ordering};

/// A bug that somebody might write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// A write is acknowledged before it is synced.
    AckBeforeSync = 1,
    /// A new segment's name is not synced.
    LostDirSync,
    /// A replay leaves the log's last record out.
    ReplayOffByOne,
    /// A replaced document's new words are seen beside its old ones, before it is complete.
    HalfAReplace,
    /// A saved index of vectors claims, and is believed, to hold more than it was given.
    CheckpointAhead,
    /// Compacting leaves deletions out, whatever they delete.
    TombstoneForgotten,
    /// A snapshot leaves the log's last segment out.
    SnapshotWithoutTail,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 7] = [
        Bug::AckBeforeSync,
        Bug::LostDirSync,
        Bug::ReplayOffByOne,
        Bug::HalfAReplace,
        Bug::CheckpointAhead,
        Bug::TombstoneForgotten,
        Bug::SnapshotWithoutTail,
    ];
}

static PLANTED: AtomicU8 = AtomicU8::new(0);

/// From now on the whole process has this bug, and no other; `None`: none.
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(bug.map_or(0, |bug| bug as u8), Ordering::SeqCst);
}

/// Whether this bug is planted.
pub fn is(bug: Bug) -> bool {
    PLANTED.load(Ordering::Relaxed) == bug as u8
}
