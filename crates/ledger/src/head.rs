//! What the index knows of a document, and of a partition.

use ibid_core::{Generation, Label, Revision};
use serde::{Deserialize, Serialize};

/// Where a record stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The segment's number.
    pub segment: u32,
    /// Its first byte in the segment.
    pub offset: u64,
    /// Its length in bytes, frame included.
    pub bytes: u32,
}

/// The versions of a document that are of use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The newest.
    pub current: Version,
    /// What is served until the newest is complete.
    pub previous: Option<Version>,
}

/// One version of a document: where its records are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Which revision.
    pub revision: Revision,
    /// The partition's generation that it made.
    pub generation: Generation,
    /// The document itself; `None` says that it was deleted.
    pub put: Option<Position>,
    /// Its chunks, once it is cut.
    pub chunked: Option<Position>,
    /// How many chunks it has.
    pub chunks: u32,
    /// Its first chunk's label; the others follow.
    pub first_label: Label,
    /// Its vectors, in the order of chunks.
    pub embedded: Vec<Position>,
    /// How many chunks have a vector.
    pub embedded_chunks: u32,
}

impl Version {
    /// Whether it is there, cut, and every chunk has a vector.
    pub fn is_complete(&self) -> bool {
        self.put.is_some() && self.chunked.is_some() && self.embedded_chunks == self.chunks
    }

    /// Whether it says that the document was deleted.
    pub fn is_tombstone(&self) -> bool {
        self.put.is_none()
    }
}

/// What a partition has used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PartitionMark {
    /// The highest generation given to a write; 0 before the first.
    pub generation: Generation,
    /// The lowest label that no chunk ever had.
    pub next_label: Label,
    /// The last record that changed the partition; 0 before the first.
    pub last_sequence: u64,
}

/// The write that an idempotency key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierPut {
    /// The document that was put.
    pub document: ibid_core::DocumentKey,
    /// The revision it made.
    pub revision: Revision,
    /// The partition's generation it made.
    pub generation: Generation,
}
