//! The nouns of the house, with no I/O.
//!
//! | file          | responsibility                                                                      |
//! | ------------- | ----------------------------------------------------------------------------------- |
//! | `names.rs`    | what clients call things: tenants, collections, documents, models                   |
//! | `keys.rs`     | what is stored for them: internal keys, revisions, generations, chunk ids           |
//! | `tenant.rs`   | rights: credential -> [`Keyring`] -> [`TenantId`] or [`Operator`]                   |
//! | `document.rs` | a document as it is stored, its metadata and who may read it                        |
//! | `filter.rs`   | a condition on metadata, as a tree                                                  |
//! | `span.rs`     | a piece of a stored text, in bytes                                                  |
//! | `findings.rs` | what is noticed of a text and of a chunk while it is cut                            |
//! | `chunk.rs`    | a piece of a document that is searched and cited                                    |
//! | `hit.rs`      | what a search found, with the score of every stage on its own scale                 |
//! | `citation.rs` | where a claim stands in a source                                                    |
//! | `model.rs`    | the traits that join the rooms without linking them: Embed, Rerank, Generate, Tokenize |
//!
//! Invariants: a [`TenantId`] is a right and comes from [`Keyring::authenticate`] or an [`Operator`] alone; a
//! [`PartitionKey`] is a name and gives no right. Nothing here reads a clock, a file or the network.
#![forbid(unsafe_code)]

mod chunk;
mod citation;
mod document;
mod filter;
mod findings;
mod hit;
mod keys;
mod model;
mod names;
mod span;
mod tenant;

pub use chunk::{BlockKind, Bounds, Chunk, Place};
pub use citation::{Citation, Verdict};
pub use document::{
    CodeLanguage, CollectionSettings, Language, MediaType, Metadata, Principal, Readers, Trust, Value, ValueType,
};
pub use filter::{Compare, Filter, FilterError};
pub use findings::{Findings, Likeness};
pub use hit::{Duplicate, Floor, Hit, Passage as HitPassage, Ranked, Scores, context};
pub use keys::{ChunkId, CollectionKey, DocumentKey, Generation, KeyDeriver, Label, PartitionKey, Revision, TenantKey};
pub use model::{
    BoxFuture, CacheState, Calibration, CallRecord, Caller, Embed, Fallback, FinishReason, Generate, GenerateRequest,
    Generated, Generation as GenerationStream, Message, ModelError, Origin, Pairs, Passage, Purpose, Rerank, Role,
    Source, Tokenize, ToolCall, Usage,
};
pub use names::{CollectionName, DocumentId, ModelId, NameError, TenantName};
pub use span::Span;
pub use tenant::{
    ApiKey, AuthError, Credential, Identity, KeyId, KeyState, Keyring, NewKey, Operator, Reader, Scope, Scopes,
    TenantId,
};
