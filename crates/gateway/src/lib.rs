//! Every call of a language model goes through this door.
//!
//! | file         | responsibility                                                                 |
//! | ------------ | ------------------------------------------------------------------------------ |
//! | `audit.rs`    | the record of every call: a chain a tenant                                     |
//! | `cache.rs`    | answers that are given again, and when they must not be                        |
//! | `moderate.rs` | what may be asked and what may be answered                                     |
//! | `gateway.rs` | public name -> generator; the one [`ibid_core::Generate`] that the edge hands out |
//! | `openai.rs`  | the chat completions protocol: request, statuses, pieces of the reply          |
//! | `pace.rs`    | how long a call may take: first token, between tokens, in total, deadline      |
//! | `phrases.rs` | many phrases looked for at once, word by word                                    |
//! | `redact.rs`  | private data in texts: masked, or replaced by placeholders and put back            |
//! | `secret.rs`  | a provider's key, which is never printed                                       |
//!
//! Invariants: no error and no `Debug` text holds a key, a prompt or what a provider echoes of either. A reply ends in
//! `Done` or in an error, never in silence. Dropping a reply closes its connection. No proxy and no key is read from
//! the environment, and no redirect is followed: a key goes to the configured address alone.
#![forbid(unsafe_code)]

pub mod audit;
pub mod cache;
mod gateway;
pub mod moderate;
mod openai;
mod pace;
mod phrases;
pub mod redact;
mod secret;

pub use gateway::{Gateway, GatewayError, Route};
pub use openai::OpenAiConfig;
pub use secret::Secret;
