//! Partitions: one tenant's one collection each, with its documents and indexes.
//!
//! | file            | responsibility                                                                     |
//! | --------------- | ---------------------------------------------------------------------------------- |
//! | `config.rs`     | what the engine is given: limits, and the parts it is built from                   |
//! | `engine.rs`     | open, close; from a right to a [`Partition`]                                       |
//! | `catalog.rs`    | tenants, collections and keys in memory: the ledger's catalog records, applied     |
//! | `tenants.rs`    | creating, listing and deleting tenants, keys and collections                       |
//! | `partition.rs`  | what a partition holds, and the handle that everything hangs off                   |
//! | `lanes.rs`      | a partition's vectors by the model that made them                                  |
//! | `documents.rs`  | a partition's documents and their versions in memory                               |
//! | `write.rs`      | put and delete: validate, hash, commit, ack                                        |
//! | `intake.rs`     | the thread that applies commits in ledger order, whoever still waits for them      |
//! | `stages.rs`     | the threads that chunk, index and embed what is committed; `stages/cut.rs`, `embed.rs`, `change.rs` |
//! | `migration.rs`  | changing a collection's model while it is searched                                 |
//! | `compare.rs`    | what two models find, side by side                                                 |
//! | `recover.rs`    | opening a partition: its indexes are made equal to the ledger, its stages resumed  |
//! | `report.rs` | what was noticed while a collection's documents were read and cut |
//! | `surroundings.rs` | a chunk's meaning with a share of its neighbours'                                |
//! | `snapshot.rs`   | one question's view of a partition: both arms, and hits with their text            |
//! | `past.rs`       | what is kept of earlier versions, and views of past generations                    |
//! | `citation.rs`   | what has become of something cited                                                 |
//! | `compact.rs`    | when what is of no use any more leaves the log                                     |
//! | `backup.rs`     | snapshots of the whole data folder, while it is served                             |
//! | `questions.rs`  | the vectors of a partition's latest questions                                      |
//! | `error.rs`      | what can go wrong                                                                  |
//! | `invariants.rs` | what must hold, by id, and whether it does                                         |
//! | `fsck.rs`       | a data folder examined: what is damaged, what was mended, what is lost             |
//!
//! Invariants: whatever reads or writes documents hangs off a [`Partition`], and a [`Partition`] comes from a
//! [`ibid_core::TenantId`] alone. A write is acknowledged after the ledger has it. A replaced document is served by its old
//! version until the new one is complete. The indexes hold exactly the labels of served versions, or are made to on open.
//! A past generation is shown as it was, but for what was deleted since, or not at all.
//! A snapshot searches vectors of one model, and names it; a collection's model changes with one record of the ledger.
//! This crate knows no protobuf, no model's code and no environment.
#![forbid(unsafe_code)]

/// Whether a bug is planted here, for the simulation to find.
#[cfg(feature = "planted")]
macro_rules! planted {
    ($bug:ident) => {
        ibid_ledger::planted::is(ibid_ledger::planted::Bug::$bug)
    };
}
#[cfg(not(feature = "planted"))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

mod backup;
mod catalog;
mod citation;
mod compact;
mod compare;
mod config;
mod documents;
mod engine;
mod erasure;
mod error;
mod fsck;
mod intake;
mod invariants;
mod lanes;
mod migration;
mod partition;
mod past;
mod questions;
mod recover;
mod report;
mod shred;
mod snapshot;
mod stages;
pub mod surroundings;
mod tenants;
mod write;

pub use citation::{Cited, CitedPlace, CitedState, Resolved};
pub use compare::{Comparison, Labelled};
pub use config::{Config, EmbedModel, Models, Parts, Views};
pub use documents::{DocumentInfo, Stage};
pub use engine::{Engine, Opened};
pub use erasure::{Erased, Erasure, ErasureCheck, ErasurePlace};
pub use error::{EngineError, Invalid};
pub use fsck::{DamagedCollection, DamagedRecord, Fsck, MendedView, Unopened};
#[cfg(feature = "planted")]
pub use ibid_ledger::planted;
pub use ibid_ledger::{
    Compacted, Damaged, MasterKey, MasterKeyError, ModelVersion, RecordKind, SecondRole, Sequence, Switching,
    snapshot as snapshots,
};
pub use invariants::{Invariant, Violation};
pub use migration::{Migration, SecondStatus, Trial};
pub use partition::{CollectionInfo, IngestStatus, Partition};
pub use recover::{Mended, ViewKind};
pub use report::Report;
pub use snapshot::{Candidate, Expand, Found, Passage, Scope, Snapshot};
pub use tenants::{KeyInfo, KeyRequest, TenantInfo};
pub use write::{Put, PutAck, ReadyChunk, check_vector};
