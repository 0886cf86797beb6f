//! A piece of a stored text.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A piece of one document's stored text: UTF-8 bytes, half open, never empty, never cutting a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// `None` if `bytes` is empty, outside `text`, or cuts a character.
    pub fn of(text: &str, bytes: Range<usize>) -> Option<Span> {
        let piece = text.get(bytes.clone())?;
        let (start, end) = (u32::try_from(bytes.start).ok()?, u32::try_from(bytes.end).ok()?);
        (!piece.is_empty()).then_some(Span { start, end })
    }

    /// The text cited. `None` says that `text` is not the one the span was cut from.
    pub fn quote(self, text: &str) -> Option<&str> {
        text.get(self.range())
    }

    /// A piece of this piece: `bytes` count from this span's start. `None` if it is empty or reaches beyond this span.
    /// Whether it cuts a character is for the caller to know, who has the text.
    pub fn piece(self, bytes: Range<usize>) -> Option<Span> {
        let inside = bytes.start < bytes.end && bytes.end <= self.len() as usize;
        let (start, end) = (u32::try_from(bytes.start).ok()?, u32::try_from(bytes.end).ok()?);
        inside.then(|| Span { start: self.start + start, end: self.start + end })
    }

    /// The bytes, half open.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The first byte.
    pub fn start(self) -> u32 {
        self.start
    }

    /// The byte after the last.
    pub fn end(self) -> u32 {
        self.end
    }

    /// How many bytes.
    #[allow(clippy::len_without_is_empty, reason = "a span is never empty")]
    pub fn len(self) -> u32 {
        self.end - self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_span_quotes_what_it_was_cut_from_or_is_none(text in ".{0,40}", a in 0usize..60, b in 0usize..60) {
            let whole = a < b && text.get(a..b).is_some();
            let span = Span::of(&text, a..b);
            prop_assert_eq!(span.is_some(), whole);
            if let Some(span) = span {
                prop_assert_eq!(span.quote(&text), text.get(a..b));
            }
        }
    }
}
