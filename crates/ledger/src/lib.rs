//! The durable truth: our own append-only log of checksummed records, and a disposable index over it.
//!
//! | file              | responsibility                                                                    |
//! | ----------------- | --------------------------------------------------------------------------------- |
//! | `ledger.rs`       | open, append, read, scan, and what the index is asked                             |
//! | `record.rs`       | what is written: one record an atomic change                                      |
//! | `embedding.rs`    | the models of a collection's vectors                                              |
//! | `compressed.rs`   | a text as a record holds it                                                       |
//! | `flat.rs`         | serde forms of long fields                                                        |
//! | `batch.rs`        | records that wait: a bounded queue, and the answer                                |
//! | `commit.rs`       | one thread: one group, one write, one sync; a second one: the index, then the acks |
//! | `checkpoint.rs`   | bringing the index's store up to date, beside the writers                         |
//! | `log.rs`          | the log's segments: read, scan; what may be cut from its end, and why             |
//! | `log/open.rs`     | its files put in order, and where each record stands                              |
//! | `log/compact.rs`  | segments written anew without what nothing needs                                  |
//! | `log/writer.rs`   | the one writer: groups, new segments, full disks                                  |
//! | `log/tail.rs`     | the log's end after a crash: cut what was never acknowledged, secure the rest     |
//! | `segment.rs`      | one file of the log; a walk over it, around damage                                |
//! | `contents.rs`     | a segment's table of contents                                                     |
//! | `frame.rs`        | the bytes of headers                                                              |
//! | `cipher.rs`       | how bytes are sealed                                                              |
//! | `keys.rs`         | the tenants' keys: made, sealed by the master key, destroyed                      |
//! | `index.rs`        | the index: a small ordered map, its entries, changes on their way into it         |
//! | `index/apply.rs`  | what a record changes in the index: pure, used by writing and by replay           |
//! | `index/layered.rs` | a slow store with the latest changes in front of it                              |
//! | `index/needed.rs` | which records of the log anything in the index needs                              |
//! | `index/sled.rs`   | the map in sled, its panics caught                                                |
//! | `index/memory.rs` | the map in memory                                                                 |
//! | `head.rs`         | what the index knows of a document and of a partition                             |
//! | `replay.rs`       | from the log to the index: whether sled is believed, filling it anew              |
//! | `remains.rs`      | what can still be told of a damaged piece of the log                              |
//! | `snapshot.rs`     | the log as of one moment, elsewhere: create, verify, restore                      |
//! | `lock.rs`         | one process a folder                                                              |
//! | `error.rs`        | what can go wrong, by what somebody decides on it                                 |
//! | `planted.rs`      | bugs that the simulation must find; with the feature `planted` alone              |
//!
//! Invariants:
//! - *acked-survives*: a record whose [`Pending`] said so was synced before, and is in the index.
//! - *prefix*: what a crash leaves of the unacknowledged records is the first few of them, each whole or not there.
//! - *no-wrong-record*: whatever bytes the disk gives back, a record is returned as it was written, or not at all; nothing
//!   panics, and what a client stored can never pass for a record.
//! - *index-is-a-view*: the index follows from the log alone; it holds hashes and sequences, no name and no text.
//! - *compaction-changes-nothing*: what the index says of the log is the same before and after, and after a replay of it;
//!   a record keeps its sequence for ever. What was forgotten because its time is over may be named by one index and not by
//!   another.
//! - *snapshot-is-whole*: with a manifest all of its blocks are there; a folder that a restore has not finished never opens.
//!
//! This crate knows no right and no tenant's name: it stores what it is given, and the engine decides who may see it.
#![forbid(unsafe_code)]

#[cfg(feature = "planted")]
pub mod planted;

/// Whether a bug is planted here.
#[cfg(feature = "planted")]
macro_rules! planted {
    ($bug:ident) => {
        crate::planted::is(crate::planted::Bug::$bug)
    };
}
#[cfg(not(feature = "planted"))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

mod batch;
mod checkpoint;
mod cipher;
mod commit;
mod compressed;
mod contents;
mod embedding;
mod error;
mod flat;
mod frame;
mod head;
mod index;
mod keys;
mod ledger;
mod lock;
mod log;
mod record;
mod remains;
mod replay;
mod segment;
pub mod snapshot;

pub use batch::Pending;
pub use cipher::{MasterKey, MasterKeyError};
pub use compressed::Compressed;
pub use embedding::{Embedding, ModelVersion, SecondModel, SecondRole, Switching};
pub use error::LedgerError;
pub use head::{EarlierPut, Embedded, Head, ModelKey, PartitionMark, Retained, Sequence, Version};
pub use ledger::{Config, Holding, Ledger, Report};
pub use lock::{FolderLock, lock_folder};
pub use log::{Compacted, Damaged, Stats};
pub use record::{MadeFrom, ReadyChunk, Record, RecordKind, StoredChunk, StoredDocument, Whose};
pub use remains::Remains;
pub use replay::{IndexKind, IndexState};
