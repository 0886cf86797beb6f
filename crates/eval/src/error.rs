//! Why a measurement cannot be made.

use std::io;

use ibid_core::DocumentId;

/// Why a measurement cannot be made. Files are named as they are called within the set, without the folder it lies in.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A file or folder of the set is missing or cannot be read.
    #[error("read {file}")]
    Read {
        /// The file.
        file: String,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// A line of the set is not what its format says: fix the line.
    #[error("{file}, line {line}: {reason}")]
    Line {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of the set cannot be a document: rename it, convert it or take it out.
    #[error("{file}: {reason}")]
    Document {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The set has nothing to measure with: choose another split.
    #[error("{qrels} has no positive judgement for any query of queries.jsonl")]
    NothingJudged {
        /// The file of judgements.
        qrels: String,
    },
    /// A search gave a score that has no place in an order: a defect of what is measured.
    #[error("document {document} has the score NaN for query {query}")]
    Score {
        /// The query.
        query: String,
        /// The document.
        document: DocumentId,
    },
    /// The cache cannot be opened: free the disk or go without.
    #[error("open the cache {file}")]
    Cache {
        /// The file.
        file: String,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] ibid_engine::EngineError),
    /// A search failed.
    #[error(transparent)]
    Retrieve(#[from] ibid_retrieve::RetrieveError),
}
