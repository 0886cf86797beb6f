//! What the index knows of a document, and of a partition.

use std::fmt;

use ibid_core::{Generation, Label, ModelId, Revision};
use serde::{Deserialize, Serialize};

/// A record's place in the order of all records, from 1: its address, which compaction leaves as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The one after it.
    #[must_use]
    pub fn next(self) -> Sequence {
        Sequence(self.0.saturating_add(1))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The versions of a document that are of use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The newest.
    pub current: Version,
    /// What is served until the newest is complete.
    pub previous: Option<Version>,
}

/// One version of a document: which its records are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Which revision.
    pub revision: Revision,
    /// The partition's generation that it made.
    pub generation: Generation,
    /// The document itself; `None` says that it was deleted.
    pub put: Option<Sequence>,
    /// The deletion that this is, or, until it is complete, the last one before it.
    pub deleted: Option<Sequence>,
    /// Its chunks, once it is cut.
    pub chunked: Option<Sequence>,
    /// How many chunks it has.
    pub chunks: u32,
    /// Its first chunk's label; the others follow.
    pub first_label: Label,
    /// Its vectors, by the model that made them.
    pub embedded: Vec<Embedded>,
}

/// What a model has made of a version's chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Embedded {
    /// The model.
    pub model: ModelKey,
    /// Its vectors, in the order of chunks.
    pub parts: Vec<Sequence>,
    /// How many chunks have a vector, from the first.
    pub chunks: u32,
}

/// A model with its weights and its dimension, as a hash: vectors of different keys are never compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModelKey(pub [u8; 8]);

impl ModelKey {
    /// The key of a model whose weights hash to `revision`.
    pub fn of(model: &ModelId, revision: &str, dimension: u32) -> ModelKey {
        let mut hasher = blake3::Hasher::new_derive_key("ibid 2026 model key v1");
        for part in [model.as_str(), revision] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        hasher.update(&dimension.to_le_bytes());
        ModelKey(hasher.finalize().as_bytes()[..8].try_into().expect("eight of thirty-two bytes"))
    }
}

impl fmt::Display for ModelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl Version {
    /// Where the document of a version is of which only later records are left: nowhere.
    pub const LOST: Sequence = Sequence(0);

    /// What this model has made of it; `None` before its first vector.
    pub fn embedded_by(&self, model: ModelKey) -> Option<&Embedded> {
        self.embedded.iter().find(|embedded| embedded.model == model)
    }

    /// Whether it is there, cut, and every chunk has a vector. While a collection has two models, the second one follows the
    /// one that is served: so it does not matter which of them made the vectors.
    pub fn is_complete(&self) -> bool {
        let all = self.chunks == 0 || self.embedded.iter().any(|embedded| embedded.chunks == self.chunks);
        self.put.is_some() && self.chunked.is_some() && all
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
    /// The record that says so of the generation; 0 before the first.
    pub generated: Sequence,
    /// The record that says so of the label; 0 before the first.
    pub labelled: Sequence,
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
    /// When, milliseconds since the Unix epoch.
    pub put_ms: u64,
    /// The record that says so.
    pub record: Sequence,
}
