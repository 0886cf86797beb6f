//! What the index knows of a document, and of a partition.

use std::fmt;

use ibid_core::{Generation, Label, ModelId, Revision};
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
    /// Its vectors, by the model that made them.
    pub embedded: Vec<Embedded>,
}

/// What a model has made of a version's chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Embedded {
    /// The model.
    pub model: ModelKey,
    /// Its vectors, in the order of chunks.
    pub parts: Vec<Position>,
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
