//! The query path: from a [`Query`] and partitions to ranked hits.
//!
//! | file            | responsibility                                                                       |
//! | --------------- | ------------------------------------------------------------------------------------ |
//! | `query.rs`      | a valid query: question, depths, weights, floors                                     |
//! | `retrieve.rs`   | the whole path on one screen                                                         |
//! | `candidates.rs` | by words and by meaning, side by side, over several collections                      |
//! | `fuse.rs`       | reciprocal rank fusion (Cormack, Clarke, Buettcher, SIGIR 2009)                      |
//! | `duplicates.rs` | chunks that say the same: ranked once, with all their places                         |
//! | `rerank.rs`     | cross-encoders over the fused head: waves, a budget, early exit, the mixed score     |
//! | `passage.rs`    | the piece of its document that comes with a hit, told once where hits share it       |
//! | `error.rs`      | what can go wrong                                                                    |
//!
//! Invariants: nothing here takes a tenant, only [`ibid_engine::Partition`]s. Same generations and query, same list: ties
//! break by chunk id, lists are summed in a fixed order. This crate knows no protobuf, no model's code and no file.
#![forbid(unsafe_code)]

mod candidates;
mod duplicates;
mod error;
mod fuse;
mod passage;
mod query;
mod rerank;
mod retrieve;

pub use error::RetrieveError;
pub use fuse::{Fused, rrf};
pub use query::{Duplicates, Fusion, Mode, Query, Rerank};
pub use rerank::{Reranked, Rerankers};
pub use retrieve::{Retrieved, Retriever, Searched};
