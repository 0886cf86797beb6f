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
    /// What was served before, newest first, without a gap, as far as it is kept. The log may have the last of them no more:
    /// see [`Retained::is_kept`].
    pub retained: Vec<Retained>,
}

/// A version that was served, and is kept although another one has taken its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retained {
    /// The version.
    pub version: Version,
    /// The generation of the one that took its place.
    pub until: Generation,
    /// When that one was put, milliseconds since the Unix epoch.
    pub superseded_ms: u64,
    /// How long it is kept from then on, in milliseconds.
    pub retain_ms: u64,
}

impl Retained {
    /// Whether it is kept at `now_ms`, milliseconds since the Unix epoch, where versions are kept for `retain_ms` now.
    pub fn is_kept(&self, now_ms: u64, retain_ms: u64) -> bool {
        now_ms.saturating_sub(self.superseded_ms) <= retain_ms.min(self.retain_ms)
    }
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
    /// When it was put, milliseconds since the Unix epoch.
    pub put_ms: u64,
    /// How long the version that it replaces is kept, in milliseconds; `None`: it replaces none.
    pub retain_ms: Option<u64>,
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

impl Head {
    /// Versions of one document that are kept after others have taken their place.
    pub const RETAINED_MAX: usize = 1_000;

    /// The newest version, then the one before.
    pub fn versions(&self) -> impl Iterator<Item = &Version> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    /// All versions, newest first.
    pub fn all_versions(&self) -> impl Iterator<Item = &Version> {
        self.versions().chain(self.retained.iter().map(|one| &one.version))
    }

    pub(crate) fn all_versions_mut(&mut self) -> impl Iterator<Item = &mut Version> {
        let retained = self.retained.iter_mut().map(|one| &mut one.version);
        std::iter::once(&mut self.current).chain(&mut self.previous).chain(retained)
    }

    /// Puts `next`, a later version, in the place of the newest one.
    pub(crate) fn followed_by(self, mut next: Version) -> Head {
        // Forgotten, it would leave what was deleted to be served until this version is complete.
        next.deleted = self.current.deleted;
        if self.current.is_tombstone() || next.retain_ms.is_none() {
            return Head { current: next, previous: None, retained: Vec::new() };
        }
        if self.current.put == Some(Version::LOST) {
            // Nobody reads it: the one before it is what may be served.
            return Head { current: next, previous: self.previous, retained: self.retained };
        }
        let cut = |version: &Version| version.chunked.is_some();
        let previous = match self.previous {
            Some(previous) if cut(&previous) || !cut(&self.current) => previous,
            Some(_) | None => self.current,
        };
        Head { current: next, previous: Some(previous), retained: self.retained }
    }

    /// The newest version is complete, and takes the place of the one before, which is kept as long as the newest says. What
    /// is kept follows from the versions that are, whatever else of the document is left in the log: so they go from the
    /// oldest on, and none without those before it.
    pub(crate) fn completed(&mut self) {
        self.current.deleted = None;
        let Some(version) = self.previous.take() else { return };
        let Version { generation: until, put_ms: superseded_ms, retain_ms, .. } = self.current;
        let retain_ms = retain_ms.unwrap_or(0);
        if retain_ms == 0 || version.put == Some(Version::LOST) {
            self.retained.clear();
            return;
        }
        if version.chunked.is_some() {
            self.retained.insert(0, Retained { version, until, superseded_ms, retain_ms });
        }
        let is_over = |one: &Retained| one.superseded_ms.saturating_add(retain_ms) < superseded_ms;
        let kept = self.retained.iter().position(is_over).unwrap_or(self.retained.len());
        self.retained.truncate(kept.min(Head::RETAINED_MAX));
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
        // Of a lost one nothing can be served: it takes nobody's place, and lifts no deletion.
        let there = self.put.is_some_and(|put| put != Version::LOST);
        there && self.chunked.is_some() && all
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
