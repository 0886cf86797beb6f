//! What can go wrong, by what somebody does about it.

use ibid_chunk::ParseError;
use ibid_core::{CollectionName, ModelError};
use ibid_ledger::LedgerError;
use ibid_ledger::snapshot::SnapshotError;
use ibid_lexical::LexicalError;
use ibid_runtime::{PoolError, Stopped};
use ibid_vector::VectorError;

/// A field that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct Invalid {
    /// The field's name, as the client knows it.
    pub field: String,
    /// What is wrong, and what was expected.
    pub problem: String,
}

impl Invalid {
    /// `field` is wrong for the reason `problem`.
    pub fn new(field: impl Into<String>, problem: impl std::fmt::Display) -> Invalid {
        Invalid { field: field.into(), problem: problem.to_string() }
    }
}

/// Why the engine refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The client can mend its request.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The document cannot be read.
    #[error("content {0}")]
    Unreadable(ParseError),
    /// A field that makes sense, but not of what there is now.
    #[error("{0}")]
    OutOfRange(Invalid),
    /// There is no such thing, or the caller may not know of it.
    #[error("no {kind} {name:?}")]
    NotFound {
        /// What kind of thing.
        kind: &'static str,
        /// Its name, as the client gave it.
        name: String,
    },
    /// There is one already.
    #[error("{kind} {name:?} exists")]
    Exists {
        /// What kind of thing.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The caller's key does not give this right.
    #[error("the key may not {what}")]
    Forbidden {
        /// What it may not.
        what: String,
    },
    /// It cannot be done in the present state; the message says what can.
    #[error("{0}")]
    Unfit(String),
    /// The collection's vectors are of a model, or of weights, that this server has not.
    #[error(
        "collection {collection} holds vectors of {holds}, and this server has {has}; start it with that model, or embed \
         the collection anew: ibid models migrate {collection} --to MODEL --force"
    )]
    OtherModel {
        /// The collection.
        collection: CollectionName,
        /// The model of its vectors.
        holds: String,
        /// What there is.
        has: String,
    },
    /// Too much is waiting; try again after a while.
    #[error("overloaded: {0}")]
    Overloaded(String),
    /// The caller left or its deadline passed.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The disk is full; writing goes on when there is room.
    #[error("the disk is full; nothing was written")]
    DiskFull,
    /// The store takes no writes until it is opened again.
    #[error("the store takes no more writes after a failed sync; restart the server")]
    ReadOnly,
    /// Stored bytes fail their checksum.
    #[error("stored data is damaged: {0}")]
    Damaged(String),
    /// The collection's index of words was found damaged. It answers again once it is made anew.
    #[error("the collection's index of words is being made anew; ask again, or by meaning alone")]
    Rebuilding,
    /// The ledger failed.
    #[error("ledger")]
    Ledger(#[source] LedgerError),
    /// A snapshot was not made or read.
    #[error("snapshot")]
    Snapshot(#[source] SnapshotError),
    /// An index of words failed.
    #[error("lexical index")]
    Lexical(#[source] LexicalError),
    /// An index of vectors failed.
    #[error("vector index")]
    Vector(#[source] VectorError),
    /// A model failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The operating system refused something.
    #[error("{doing}")]
    Io {
        /// What we were doing.
        doing: &'static str,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
    /// The engine is closing.
    #[error("the server is shutting down")]
    Closing,
}

impl EngineError {
    /// What a refusal of the compute pool means to whoever called the engine.
    pub(crate) fn of_pool(error: PoolError) -> EngineError {
        match error {
            PoolError::Full { queued } => EngineError::Overloaded(format!("{queued} jobs wait for the compute pool")),
            PoolError::Stopped(stopped) => EngineError::Stopped(stopped),
            PoolError::Panicked { message } => {
                EngineError::Io { doing: "compute", source: std::io::Error::other(message) }
            }
        }
    }

    /// What a failure of an index of words means to whoever called the engine.
    pub(crate) fn of_lexical(error: LexicalError) -> EngineError {
        match error {
            LexicalError::Stopped(stopped) => EngineError::Stopped(stopped),
            LexicalError::Corrupt { .. } | LexicalError::Failed { .. } => EngineError::Lexical(error),
        }
    }

    /// What a failure of an index of vectors means to whoever called the engine.
    pub(crate) fn of_vector(error: VectorError) -> EngineError {
        match error {
            VectorError::Stopped(stopped) => EngineError::Stopped(stopped),
            VectorError::Config(_)
            | VectorError::Dimensions { .. }
            | VectorError::NotFinite { .. }
            | VectorError::Zero
            | VectorError::StoredDimensions { .. }
            | VectorError::Corrupt { .. }
            | VectorError::Disk { .. } => EngineError::Vector(error),
        }
    }

    /// What a failure of a snapshot means to whoever called the engine.
    pub fn of_snapshot(error: SnapshotError) -> EngineError {
        match error {
            SnapshotError::NotFound { id } => EngineError::NotFound { kind: "snapshot", name: id },
            SnapshotError::Log(error) => EngineError::of_ledger(error),
            SnapshotError::Stopped(stopped) => EngineError::Stopped(stopped),
            SnapshotError::Store(_)
            | SnapshotError::Nothing
            | SnapshotError::Manifest { .. }
            | SnapshotError::BlockMissing { .. }
            | SnapshotError::BlockDamaged { .. }
            | SnapshotError::KeyDamaged { .. }
            | SnapshotError::Newer { .. }
            | SnapshotError::NotEmpty
            | SnapshotError::Write { .. } => EngineError::Snapshot(error),
        }
    }

    /// What a failure of the ledger means to whoever called the engine.
    pub(crate) fn of_ledger(error: LedgerError) -> EngineError {
        match error {
            LedgerError::Full => EngineError::DiskFull,
            LedgerError::Overloaded { queued_bytes } => {
                EngineError::Overloaded(format!("{queued_bytes} bytes wait to be written"))
            }
            LedgerError::Write { .. } | LedgerError::Poisoned => EngineError::ReadOnly,
            LedgerError::Closed => EngineError::Closing,
            LedgerError::Stopped(stopped) => EngineError::Stopped(stopped),
            LedgerError::Corrupt { .. } | LedgerError::Text | LedgerError::NoSecret => {
                EngineError::Damaged(error.to_string())
            }
            LedgerError::KeyLost { .. } => EngineError::Damaged(error.to_string()),
            LedgerError::Unfinished | LedgerError::MasterKeyMissing | LedgerError::MasterKeyWrong => {
                EngineError::Unfit(error.to_string())
            }
            LedgerError::Locked
            | LedgerError::Read { .. }
            | LedgerError::TooLarge { .. }
            | LedgerError::Newer { .. }
            | LedgerError::Older { .. }
            | LedgerError::Index { .. }
            | LedgerError::Thread { .. } => EngineError::Ledger(error),
        }
    }
}
