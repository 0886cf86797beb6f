//! Text to wordpieces, in bounded memory, with exact byte offsets.
//!
//! A tokenizer holds some hundred bytes for each byte of its input, so a long text goes through it in pieces. They are cut
//! before whitespace or punctuation, where a BERT tokenizer cuts anyway: the tokens are those of the whole text. Only a run
//! of [`PIECE_BYTES`] without either is cut between two characters, which may show in the one word that stands there.

use std::path::Path;

use tokenizers::Tokenizer;

use crate::InferError;

/// The longest piece of text that is tokenized at once.
const PIECE_BYTES: usize = 16 * 1024;

/// A model's tokenizer. What a text says is always text: a `[SEP]` in it is four tokens and separates nothing.
#[derive(Debug)]
pub(crate) struct Wordpieces {
    tokenizer: Tokenizer,
    /// The token before a text.
    pub(crate) start: u32,
    /// The token after a text, or between two.
    pub(crate) separator: u32,
}

impl Wordpieces {
    /// Reads a `tokenizer.json`; the truncation and padding it may ask for are left out. `vocabulary` is the number of
    /// tokens that the encoder knows.
    ///
    /// # Errors
    /// Not readable, malformed, without `[CLS]` and `[SEP]`, or with more tokens than the encoder.
    pub(crate) fn read(path: &Path, vocabulary: usize) -> Result<Wordpieces, InferError> {
        let malformed = |detail: String| InferError::Malformed { path: path.to_owned(), detail };
        let bytes = std::fs::read(path).map_err(|source| InferError::Read { path: path.to_owned(), source })?;
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| malformed(error.to_string()))?;
        tokenizer.with_truncation(None).map_err(|error| malformed(error.to_string()))?;
        tokenizer.with_padding(None);
        tokenizer.set_encode_special_tokens(true);
        let known = tokenizer.get_vocab(true);
        if known.values().any(|id| *id as usize >= vocabulary) {
            return Err(malformed(format!("it has tokens beyond the encoder's {vocabulary}")));
        }
        // Wordpiece fails only where it has no token for the unknown: a hieroglyph asks for it once, here.
        tokenizer.encode_fast("\u{13000}", false).map_err(|error| malformed(error.to_string()))?;
        let special =
            |token: &str| known.get(token).copied().ok_or_else(|| malformed(format!("it has no token {token}")));
        Ok(Wordpieces { start: special("[CLS]")?, separator: special("[SEP]")?, tokenizer })
    }

    /// The first `tokens_max` tokens of `text`, without special tokens.
    pub(crate) fn ids(&self, text: &str, tokens_max: usize) -> Vec<u32> {
        let mut ids = Vec::new();
        for (_, piece) in pieces(text) {
            if ids.len() >= tokens_max {
                break;
            }
            let encoding = self.tokenizer.encode_fast(piece, false).expect(NEVER_FAILS);
            ids.extend_from_slice(encoding.get_ids());
        }
        ids.truncate(tokens_max);
        ids
    }

    /// The first byte of each token of `text`, appended to `out`; never descending, and equal where one character became
    /// several tokens.
    ///
    /// # Panics
    /// If `text` has 4 GiB or more.
    pub(crate) fn starts(&self, text: &str, out: &mut Vec<u32>) {
        for (first, piece) in pieces(text) {
            let encoding = self.tokenizer.encode(piece, false).expect(NEVER_FAILS);
            let starts = encoding.get_offsets().iter().map(|(start, _)| first + start);
            out.extend(starts.map(|byte| u32::try_from(byte).expect("texts are shorter than 4 GiB")));
        }
    }
}

const NEVER_FAILS: &str = "the tokenizer has a token for every text, as asked when it was read";

/// `text` in pieces, each with its first byte.
fn pieces(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let rest = &text[first..];
        if rest.is_empty() {
            return None;
        }
        let piece = &rest[..piece_end(rest)];
        let found = (first, piece);
        first += piece.len();
        Some(found)
    })
}

fn piece_end(text: &str) -> usize {
    if text.len() <= PIECE_BYTES {
        return text.len();
    }
    let window = &text[..text.floor_char_boundary(PIECE_BYTES)];
    match window.rfind(|found: char| found.is_whitespace() || found.is_ascii_punctuation()) {
        Some(byte) if byte > 0 => byte,
        Some(_) | None => window.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wordpieces() -> Wordpieces {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/all-MiniLM-L6-v2-int8/tokenizer.json");
        Wordpieces::read(Path::new(path), 30_522).unwrap()
    }

    #[test]
    fn a_long_text_has_the_tokens_of_the_whole() {
        let wordpieces = wordpieces();
        let text = "Größe, naïve 東京 tokens\u{2003}und mehr; unaffordability?! ".repeat(3_000);
        assert!(text.len() > 10 * PIECE_BYTES);
        let whole = wordpieces.tokenizer.encode(text.as_str(), false).unwrap();
        let mut starts = Vec::new();
        wordpieces.starts(&text, &mut starts);
        let expected: Vec<u32> = whole.get_offsets().iter().map(|(start, _)| *start as u32).collect();
        assert!(starts == expected);
        assert!(wordpieces.ids(&text, usize::MAX) == whole.get_ids());
        assert!(wordpieces.ids(&text, 100) == whole.get_ids()[..100]);
    }

    #[test]
    fn a_text_without_a_break_is_cut_between_characters() {
        let text = "é".repeat(PIECE_BYTES);
        let lengths: Vec<usize> = pieces(&text).map(|(_, piece)| piece.len()).collect();
        assert_eq!(lengths, [PIECE_BYTES, PIECE_BYTES]);
        assert_eq!(wordpieces().ids(&text, usize::MAX).len(), 2);
    }
}
