//! A text with what stands around a place in it.

use std::ops::Range;

/// How far before a value a word may stand that says what it is, in bytes.
const CUE_BYTES: usize = 40;

/// A text and the same text in small letters, byte for byte.
pub(super) struct View<'a> {
    pub(super) text: &'a str,
    /// ASCII letters are small, all others as they are, so that places are the same.
    lower: String,
}

impl<'a> View<'a> {
    pub(super) fn new(text: &'a str) -> View<'a> {
        View { text, lower: text.to_ascii_lowercase() }
    }

    /// The character before byte `at`.
    pub(super) fn before(&self, at: usize) -> Option<char> {
        self.text[..at].chars().next_back()
    }

    /// The character from byte `at` on.
    pub(super) fn after(&self, at: usize) -> Option<char> {
        self.text[at..].chars().next()
    }

    /// Whether `span` is a word of its own: no letter, digit or underscore on either side, and no digit behind a separator
    /// which would make it a part of a longer number.
    pub(super) fn stands_alone(&self, span: &Range<usize>) -> bool {
        let joins = |c: char| c.is_alphanumeric() || c == '_';
        let separates = |c: char| matches!(c, '.' | '-' | '/' | ',');
        let mut left = self.text[..span.start].chars().rev();
        let mut right = self.text[span.end..].chars();
        let clear = |first: Option<char>, second: Option<char>| match first {
            Some(c) if joins(c) => false,
            Some(c) if separates(c) => !second.is_some_and(|c| c.is_ascii_digit()),
            _ => true,
        };
        clear(left.next(), left.next()) && clear(right.next(), right.next())
    }

    /// Up to `bytes` of what stands before `at`, on the same line, in small letters.
    pub(super) fn line_before(&self, at: usize, bytes: usize) -> &str {
        let from = floor(&self.lower, at.saturating_sub(bytes));
        let piece = &self.lower[from..at];
        piece.rsplit('\n').next().unwrap_or(piece)
    }

    /// Whether one of `words` (small letters) stands shortly before `at`, beginning a word.
    pub(super) fn has_cue(&self, at: usize, words: &[&str]) -> bool {
        self.has_cue_within(at, CUE_BYTES, words)
    }

    /// [`View::has_cue`] within `bytes`.
    pub(super) fn has_cue_within(&self, at: usize, bytes: usize, words: &[&str]) -> bool {
        let piece = self.line_before(at, bytes);
        words.iter().any(|word| {
            piece
                .match_indices(word)
                .any(|(found, _)| !piece[..found].chars().next_back().is_some_and(char::is_alphanumeric))
        })
    }
}

fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
