//! Partitions: one tenant's one collection each, with its documents and indexes.
//!
//! | file            | responsibility                                                                     |
//! | --------------- | ---------------------------------------------------------------------------------- |
//! | `config.rs`     | what the engine is given: limits, and the parts it is built from                   |
//! | `engine.rs`     | open, close; from a right to a [`Partition`]                                       |
//! | `catalog.rs`    | tenants, collections and keys in memory: the ledger's catalog records, applied     |
//! | `tenants.rs`    | creating, listing and deleting tenants, keys and collections                       |
//! | `partition.rs`  | what a partition holds, and the handle that everything hangs off                   |
//! | `documents.rs`  | a partition's documents and their versions in memory                               |
//! | `write.rs`      | put and delete: validate, hash, commit, ack                                        |
//! | `intake.rs`     | the thread that applies commits in ledger order, whoever still waits for them      |
//! | `stages.rs`     | the threads that chunk, index and embed what is committed; `stages/cut.rs`, `embed.rs` |
//! | `recover.rs`    | opening a partition: its indexes are made equal to the ledger, its stages resumed  |
//! | `snapshot.rs`   | one question's view of a partition: both arms, and hits with their text            |
//! | `questions.rs`  | the vectors of a partition's latest questions                                      |
//! | `error.rs`      | what can go wrong                                                                  |
//!
//! Invariants: whatever reads or writes documents hangs off a [`Partition`], and a [`Partition`] comes from a
//! [`ibid_core::TenantId`] alone. A write is acknowledged after the ledger has it. A replaced document is served by its old
//! version until the new one is complete. The indexes hold exactly the labels of served versions, or are made to on open.
//! This crate knows no protobuf, no model's code and no environment.
#![forbid(unsafe_code)]

mod catalog;
mod config;
mod documents;
mod engine;
mod error;
mod intake;
mod partition;
mod questions;
mod recover;
mod snapshot;
mod stages;
mod tenants;
mod write;

pub use config::{Config, EmbedModel, Models, Parts, Views};
pub use documents::{DocumentInfo, Stage};
pub use engine::{Engine, Opened};
pub use error::{EngineError, Invalid};
pub use partition::{CollectionInfo, IngestStatus, Partition};
pub use snapshot::{Candidate, Found, Scope, Snapshot};
pub use tenants::{KeyInfo, KeyRequest, TenantInfo};
pub use write::{Put, PutAck, ReadyChunk, check_vector};
