//! Words: BM25 on tantivy, one index per partition.
//!
//! | file          | responsibility                                                                      |
//! | ------------- | ----------------------------------------------------------------------------------- |
//! | `analyse.rs`  | text to terms: words, codes, stop words, stems, accents                             |
//! | `schema.rs`   | what a chunk is in the index                                                        |
//! | `directory.rs`| an index's files, written without waiting for the disk                              |
//! | `index.rs`    | an index: opened and verified, written, merged, destroyed                           |
//! | `writer.rs`   | one commit: a batch becomes one segment and one set of deletes                      |
//! | `snapshot.rs` | one committed state, with the statistics of its living chunks                       |
//! | `search.rs`   | BM25 and the best `n` within a scope                                                |
//! | `error.rs`    | what can go wrong, by what the caller does about it                                 |
//!
//! tantivy keeps terms, postings and commits. The scores are computed here: tantivy's count deleted chunks, have fixed
//! constants and add up in an order that depends on the segments.
//!
//! Invariants: a list depends on the living chunks alone, to the last bit of each score, not on deletes, commits or
//! merges. The scope is applied before the ranking. One index knows nothing of another. An index is a view with a
//! checkpoint: it may be deleted at any time and rebuilt from the ledger. Nothing here starts a merge by itself or
//! knows who asks.
#![forbid(unsafe_code)]

mod analyse;
mod directory;
mod error;
mod index;
mod schema;
mod search;
mod snapshot;
mod writer;

pub use analyse::Analysis;
pub use error::LexicalError;
pub use index::{LexicalIndex, Opened, Storage};
pub use snapshot::Snapshot;
pub use writer::{Changes, Entry};
