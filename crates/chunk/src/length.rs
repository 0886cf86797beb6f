//! How long pieces of a text are, from one run of the tokenizer.

use std::ops::Range;

use ibid_core::Tokenize;

/// A piece is at least as long as its bytes divided by this. Words have fewer bytes a token; what has more is data that
/// the tokenizer gives up on (an unknown word of any length is one token) or padding.
pub(crate) const BYTES_PER_TOKEN_MAX: usize = 16;

/// The lengths of all pieces of one text, by binary search.
pub(crate) struct Lengths<'t> {
    pub(crate) text: &'t str,
    token_starts: Vec<u32>,
}

impl<'t> Lengths<'t> {
    pub(crate) fn new(text: &'t str, tokenizer: &dyn Tokenize) -> Lengths<'t> {
        let mut token_starts = Vec::new();
        tokenizer.token_starts(text, &mut token_starts);
        Lengths { text, token_starts }
    }

    /// The tokens of a piece that starts with a character that is not blank, as numbers such that a piece from one such
    /// start to a later end has `end - start` tokens. A token that begins in the blanks before the piece, or has no start
    /// of its own because a byte of it belongs to the token before, counts as the piece's first.
    pub(crate) fn tokens(&self, bytes: &Range<usize>) -> Range<u32> {
        let first = self.tokens_before(bytes.start);
        let starts_here = self.token_starts.get(first).is_some_and(|&start| start as usize == bytes.start);
        let until = self.tokens_before(bytes.end);
        let number = |token: usize| u32::try_from(token).expect("no more tokens than a text below 4 GiB can have");
        number(first + usize::from(starts_here))..number(until + 1)
    }

    /// The length that limits are compared with, in tokens.
    pub(crate) fn weight(&self, bytes: &Range<usize>) -> u32 {
        weight(&self.tokens(bytes), bytes)
    }

    /// The farthest place where a piece from `start` is no longer than `weight_max`; perhaps inside a character.
    pub(crate) fn reach(&self, start: usize, weight_max: u32) -> usize {
        let first = self.tokens(&(start..start)).start as usize;
        // Token numbers count from 1: the piece may take those below this one.
        let beyond = first + weight_max as usize - 1;
        let by_tokens = self.token_starts.get(beyond).map_or(self.text.len(), |&token| token as usize);
        by_tokens.min(start + BYTES_PER_TOKEN_MAX * weight_max as usize)
    }

    fn tokens_before(&self, byte: usize) -> usize {
        self.token_starts.partition_point(|&start| (start as usize) < byte)
    }
}

/// The length of a piece with these tokens and bytes.
pub(crate) fn weight(tokens: &Range<u32>, bytes: &Range<usize>) -> u32 {
    let by_bytes = u32::try_from(bytes.len() / BYTES_PER_TOKEN_MAX).expect("a text is below 4 GiB");
    (tokens.end - tokens.start).max(by_bytes)
}

/// Its words on one line, with one blank between.
pub(crate) fn on_one_line(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for word in raw.split_whitespace() {
        out.push_str(if out.is_empty() { "" } else { " " });
        out.push_str(word);
    }
    out
}

/// A piece without the white space at its ends; empty if it is all blank.
pub(crate) fn trim(text: &str, bytes: Range<usize>) -> Range<usize> {
    let piece = &text[bytes.clone()];
    let start = bytes.start + (piece.len() - piece.trim_start().len());
    start..start + piece.trim().len()
}
