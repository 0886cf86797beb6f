//! The methods of the contract: who, parse, call, render, status.
//!
//! | file             | responsibility                                                   |
//! | ---------------- | ---------------------------------------------------------------- |
//! | `tenants.rs`     | tenants, for operators                                           |
//! | `keys.rs`        | keys, for operators and for a tenant's admins                    |
//! | `collections.rs` | collections                                                      |
//! | `documents.rs`   | documents, one by one or as a stream                             |
//! | `upload.rs`      | steps of an upload to whole documents, within a bound on memory  |
//! | `search.rs`      | search                                                           |
//! | `answer.rs`      | answers as a stream of events                                    |
//! | `operations.rs`  | what keeps a data folder in shape, for operators                 |
//!
//! Invariants: each method asks `auth` first. A call that is dropped stops its work.

pub(crate) mod answer;
pub(crate) mod collections;
pub(crate) mod documents;
pub(crate) mod keys;
pub(crate) mod operations;
pub(crate) mod search;
pub(crate) mod tenants;
pub(crate) mod upload;
