//! Sizes and depths of an index.

use std::ops::RangeInclusive;

/// How a graph is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// One vector after the other: equal vectors in equal order give an equal graph.
    Serial,
    /// On all threads of the rayon pool it runs in: faster, and another graph each time.
    Parallel,
}

/// What an index is made for. Only the dimension is stored with the vectors; the rest may change between two openings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Components of each vector, 1 to 16,384.
    pub dimension: usize,
    /// Vectors in a segment from which it carries a graph; smaller ones are scanned. At least 2.
    pub graph_from: usize,
    /// Neighbours a node keeps in each upper layer of a graph, twice as many in the base layer. 4 to 128.
    pub m: usize,
    /// Candidates that are looked at when a vector is linked into a graph, `m` to 4,096.
    pub ef_construction: usize,
    /// Candidates that a walk through a graph keeps, 1 to 4,096. A search for more than half as many takes more.
    pub ef_search: usize,
    /// Fresh vectors from which [`crate::VectorIndex::maintain`] seals them into a segment. At least 1.
    pub seal_from: usize,
    /// How graphs are built.
    pub build: Build,
}

/// A setting that is out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {given}, expected {min} to {max}")]
pub struct ConfigError {
    /// The setting's name.
    pub field: &'static str,
    /// What was given.
    pub given: usize,
    /// The least that is allowed.
    pub min: usize,
    /// The most that is allowed.
    pub max: usize,
}

impl Config {
    /// # Errors
    /// The first setting that is out of range.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        // hnsw_rs ends the process for `m` above 256, and has no levels at 1.
        in_range("dimension", self.dimension, 1..=16_384)?;
        in_range("graph_from", self.graph_from, 2..=usize::MAX)?;
        in_range("m", self.m, 4..=128)?;
        in_range("ef_construction", self.ef_construction, self.m..=4_096)?;
        in_range("ef_search", self.ef_search, 1..=4_096)?;
        in_range("seal_from", self.seal_from, 1..=usize::MAX)
    }
}

fn in_range(field: &'static str, given: usize, range: RangeInclusive<usize>) -> Result<(), ConfigError> {
    if range.contains(&given) {
        return Ok(());
    }
    Err(ConfigError { field, given, min: *range.start(), max: *range.end() })
}
