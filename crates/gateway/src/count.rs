//! How many tokens a text has, where the provider does not say.

use std::fmt::Debug;

use ibid_core::GenerateRequest;

/// Tokens are estimated at this many bytes each where no tokenizer is given.
const TOKEN_BYTES: u64 = 4;
/// What a provider adds to the prompt and to each message of it: roles and separators.
const FRAME_TOKENS: u64 = 16;

/// A model's own way to count.
pub trait CountTokens: Send + Sync + Debug {
    /// The tokens of `text`.
    fn count(&self, text: &str) -> u64;
}

/// The tokens of a prompt before anybody was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prompt {
    /// What it likely has.
    pub(crate) likely: u64,
    /// What it has at most: a token is at least a byte.
    pub(crate) max: u64,
}

/// Counts `request`'s messages by `counter`, or estimates them.
pub(crate) fn prompt(counter: Option<&dyn CountTokens>, request: &GenerateRequest) -> Prompt {
    let frame = FRAME_TOKENS * (1 + request.messages.len() as u64);
    let bytes: u64 = request.messages.iter().map(|message| message.content.len() as u64).sum();
    match counter {
        None => Prompt { likely: bytes.div_ceil(TOKEN_BYTES), max: bytes + frame },
        Some(counter) => {
            let tokens: u64 = request.messages.iter().map(|message| counter.count(&message.content)).sum();
            // The provider's tokenizer may be of another version.
            Prompt { likely: tokens, max: tokens + tokens.div_ceil(8) + frame }
        }
    }
}

/// The tokens of `bytes` bytes of a reply, which were not kept.
pub(crate) fn estimate(bytes: u64) -> u64 {
    bytes.div_ceil(TOKEN_BYTES)
}
