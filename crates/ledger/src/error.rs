//! What can go wrong, by what somebody decides on it.

use std::io;
use std::sync::Arc;

use ibid_runtime::Stopped;

use crate::Sequence;

/// Why the ledger refused, or failed. No message names a path, a name or a text.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// Another process has the folder open.
    #[error("the data folder is in use by another process; stop it, or choose another folder")]
    Locked,
    /// A snapshot is being restored into the folder, or that was cut off: it may hold less than all.
    #[error("a restore into the data folder was cut off; remove the folder and restore again")]
    Unfinished,
    /// The log cannot be opened or read.
    #[error("{doing}")]
    Read {
        /// What was being done.
        doing: &'static str,
        /// What the disk said.
        #[source]
        source: Arc<io::Error>,
    },
    /// Writing failed: whether this record survives is known after the ledger is opened again.
    #[error("write to the log; reopen the data folder to write again")]
    Write {
        /// What the disk said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The disk is full; nothing of this record was kept. Later writes go through once there is room.
    #[error("the disk is full; free some space and try again")]
    Full,
    /// Too much is waiting to be written; try again later.
    #[error("{queued_bytes} bytes wait to be written, which is the limit")]
    Overloaded {
        /// Bytes waiting.
        queued_bytes: u64,
    },
    /// An earlier write failed; nothing is accepted until the ledger is opened again.
    #[error("an earlier write failed; reopen the data folder to write again")]
    Poisoned,
    /// The ledger was closed.
    #[error("the ledger is closed")]
    Closed,
    /// A text or record beyond the format's limit.
    #[error("{given} bytes, at most {bytes_max} can be stored")]
    TooLarge {
        /// Bytes given.
        given: u64,
        /// Bytes allowed.
        bytes_max: u64,
    },
    /// What the log holds there is not what was written.
    #[error("record {sequence} of the log is missing or fails its checksum")]
    Corrupt {
        /// Its place in the order of all records.
        sequence: Sequence,
    },
    /// A compressed text that does not unpack to what it states.
    #[error("a stored text does not unpack to its stated length")]
    Text,
    /// Written by a later version of this program.
    #[error("the log has format {found}, this version reads up to {supported}; use a newer version")]
    Newer {
        /// The format found.
        found: u32,
        /// The highest one known.
        supported: u32,
    },
    /// Written by an earlier version of this program, in a form that is not read any more.
    #[error("the log has format {found}, this version reads {supported} and later ones; use the version that wrote it")]
    Older {
        /// The format found.
        found: u32,
        /// The lowest one read.
        supported: u32,
    },
    /// Every copy of the folder's secret is damaged: no internal key can be derived from a name.
    #[error("every copy of the folder's secret is damaged; restore the folder from a backup")]
    NoSecret,
    /// The folder is encrypted, and nobody gave the key.
    #[error("the data folder is encrypted and no master key is configured; configure the one it was made with")]
    MasterKeyMissing,
    /// The folder is encrypted with another key.
    #[error("the data folder is encrypted with another master key; configure the one it was made with")]
    MasterKeyWrong,
    /// The file with a tenant's key is damaged: what is encrypted with it cannot be read, and nothing is written.
    #[error("the key of tenant {tenant} is damaged; put tenant-keys/{tenant} back from a snapshot's keys")]
    KeyLost {
        /// The file's name.
        tenant: String,
    },
    /// The index cannot answer; it is being rebuilt from the log.
    #[error("the index over the log failed: {detail}; it is being rebuilt")]
    Index {
        /// What happened.
        detail: String,
    },
    /// Nobody waits for the work any more.
    #[error(transparent)]
    Stopped(Stopped),
    /// The operating system refused the ledger's thread.
    #[error("start the ledger's thread")]
    Thread {
        /// What it said.
        #[source]
        source: Arc<io::Error>,
    },
}

impl LedgerError {
    pub(crate) fn read(doing: &'static str) -> impl FnOnce(io::Error) -> LedgerError {
        move |source| LedgerError::Read { doing, source: Arc::new(source) }
    }
}
