//! A tokenizer for tests that need no model.

use ibid_core::Tokenize;

/// Counts as BERT's basic tokenizer does: a run of letters and digits is one token, so is any other visible character.
#[derive(Debug)]
pub(crate) struct Words;

impl Tokenize for Words {
    fn token_starts(&self, text: &str, out: &mut Vec<u32>) {
        let mut in_word = false;
        for (byte, char) in text.char_indices() {
            let is_word = char.is_alphanumeric();
            if (is_word && !in_word) || (!is_word && !char.is_whitespace()) {
                out.push(u32::try_from(byte).unwrap());
            }
            in_word = is_word;
        }
    }
}
