//! Why a call failed.

use ibid_runtime::Stopped;

use crate::ConfigError;

/// Why a call failed. Every variant is a decision somebody takes.
#[derive(Debug, thiserror::Error)]
pub enum VectorError {
    /// Mend the configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Use the model the index was made for.
    #[error("vector has {given} dimensions, the index holds vectors of {expected}; use the model it was made with")]
    Dimensions {
        /// Of the vector.
        given: usize,
        /// Of the index.
        expected: usize,
    },
    /// Mend the vector.
    #[error("component {component} of the vector is not a finite number")]
    NotFinite {
        /// Its place, from 0.
        component: usize,
    },
    /// Mend the vector.
    #[error("the vector has length zero, so that its cosine to anything is undefined")]
    Zero,
    /// Embed everything again, or go back to the model the vectors came from.
    #[error("the stored vectors have {stored} dimensions, {expected} were asked for; embed again or use the old model")]
    StoredDimensions {
        /// In the files.
        stored: usize,
        /// In the configuration.
        expected: usize,
    },
    /// Throw the folder away and rebuild the index from the ledger.
    #[error("{file} of the vector index {what}; rebuild the index")]
    Corrupt {
        /// The file's name in the index's folder.
        file: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The disk failed.
    #[error("{doing} {file} of the vector index")]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// The file's name in the index's folder.
        file: String,
        /// What the disk said.
        #[source]
        source: std::io::Error,
    },
    /// Nobody waits any more.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}
