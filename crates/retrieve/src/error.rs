//! What can go wrong on the query path.

use ibid_core::ModelError;
use ibid_engine::{EngineError, Invalid};
use ibid_runtime::{PoolError, Stopped};

/// Why a query gave no hits.
#[derive(Debug, thiserror::Error)]
pub enum RetrieveError {
    /// The client can mend its request.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// An index or the ledger failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A model failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The compute pool refused or failed.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The caller left or its deadline passed.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}
