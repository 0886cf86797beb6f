//! Augment, generate, cite: from hits to a stream of answer events.
//!
//! | file            | responsibility                                                                      |
//! | --------------- | ----------------------------------------------------------------------------------- |
//! | `stream.rs`     | the story of one answer: select sources, ask the generator, emit [`Event`]s          |
//! | `augment.rs`    | the prompt: numbered sources between lines that they cannot forge, then the question |
//! | `markers.rs`    | the grammar of `[doc_1]` and of what models write in its place                       |
//! | `cite.rs`       | deltas -> text with canonical markers, and a citation for each                      |
//! | `support.rs`    | the piece of a source that a claim rests on                                          |
//! | `verify.rs`     | what a rule can say about a claim: quoted, contradicted, or nothing                  |
//! | `extractive.rs` | a generator without a language model: the sources' own best sentences                |
//! | `units.rs`      | text -> sentences, list items, table rows                                            |
//! | `words.rs`      | text -> words, as claims and sources are compared                                    |
//!
//! Invariants: the text of the deltas has a canonical marker for each citation and none besides, whatever the generator
//! wrote and wherever its deltas were cut. A citation's quote is the bytes of the stored text under its span. Text of a
//! source is data: no source can end its own block in the prompt. Without a source no generator is asked. This crate
//! knows no index, no HTTP and no model, only [`ibid_core::Generate`] and [`ibid_core::Rerank`].
#![forbid(unsafe_code)]

mod augment;
mod cite;
mod extractive;
mod markers;
mod stream;
mod support;
#[cfg(test)]
mod testing;
mod units;
mod verify;
mod words;

pub use extractive::{Extractive, ExtractiveConfig};
pub use stream::{AnswerRequest, Answerer, Config, Event, Finish, NumberedSource};

/// The version of the rules and the layout of the prompt. It changes with them, so that no answer to an older prompt is
/// taken for one to a newer.
pub const PROMPT_VERSION: &str = "1";

/// What an answer says, and nothing else, when the sources do not hold it.
pub const NO_INFORMATION: &str = "I don't have that information.";
