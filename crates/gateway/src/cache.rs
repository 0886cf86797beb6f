//! Answers that are given again.
//!
//! | file                 | responsibility                                                                  |
//! | -------------------- | ------------------------------------------------------------------------------- |
//! | `cache/semantic.rs`  | questions that mean the same, by their vectors, in one scope                    |
//! | `cache/question.rs`  | whether two questions ask the same: what cosines do not see                      |
//! | `cache/words.rs`     | the lists of words that `question.rs` reads by                                   |

pub mod semantic;

mod question;
mod words;

pub use question::{Difference, same_question};

/// The least cosine, by the embedder that comes with Ibid, at which two questions may share an answer: what
/// `ibid eval cache` measures by default.
pub const COSINE_MIN: f32 = 0.8;
