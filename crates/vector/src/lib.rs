//! The vectors of one partition: the best by cosine among those that a filter allows.
//!
//! Vectors live in *runs*: immutable sorted segments, each with a bitmap of the labels that are still alive in it. Small
//! fresh runs take the writes and are scanned; [`VectorIndex::maintain`] merges them into sealed segments, and large ones
//! carry an HNSW graph. Readers hold a [`Snapshot`] and never wait for a writer.
//!
//! | file          | responsibility                                                                           |
//! | ------------- | ---------------------------------------------------------------------------------------- |
//! | `config.rs`   | sizes and depths, checked once                                                           |
//! | `unit.rs`     | a vector that may be stored or asked for: finite, of the right dimension, of length one  |
//! | `distance.rs` | the dot product: SIMD, and its scalar twin                                               |
//! | `top.rs`      | the best k seen so far                                                                   |
//! | `segment.rs`  | labels and vectors side by side, sorted by label; how several become one                 |
//! | `buffer.rs`   | how a batch of writes joins the fresh runs                                               |
//! | `index.rs`    | [`VectorIndex`]: writes, and what readers see                                            |
//! | `snapshot.rs` | [`Snapshot`]: search over all runs                                                       |
//! | `planner.rs`  | scan or walk, and why                                                                    |
//! | `scan.rs`     | the exact scan                                                                           |
//! | `graph.rs`    | a frozen HNSW graph and the beam search through it                                       |
//! | `visited.rs`  | which nodes a walk has seen                                                              |
//! | `freeze.rs`   | hnsw_rs builds; we export, prune, repair and freeze                                      |
//! | `seal.rs`     | [`VectorIndex::maintain`]: what is due, and swapping it in                               |
//! | `format.rs`   | a segment as a file                                                                      |
//! | `manifest.rs` | the one file that says which segments there are                                          |
//! | `store.rs`    | [`VectorIndex::save`] and [`VectorIndex::open`]                                          |
//!
//! Invariants: a label is alive in one run at most. Within a segment, labels ascend with ordinals. In a frozen graph
//! every node is reached from the entry point along the base layer. A filter is applied before ranking, never after.
//! This crate knows no chunk, no document and no model.
#![forbid(unsafe_code)]

mod buffer;
mod config;
mod distance;
mod error;
mod format;
mod freeze;
mod graph;
mod index;
mod manifest;
mod planner;
mod scan;
mod seal;
mod segment;
mod snapshot;
mod store;
#[cfg(test)]
mod testing;
mod top;
mod unit;
mod visited;

pub use config::{Build, Config, ConfigError};
pub use error::VectorError;
pub use index::VectorIndex;
pub use seal::Maintained;
pub use snapshot::Snapshot;
