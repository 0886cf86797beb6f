//! What a document holds in one of its revisions: all of it follows from a number.
//!
//! Every chunk names its document, its revision and its place among the revision's chunks, so that a text put together from
//! two revisions, or a piece of one, is none that was ever sent.

use std::ops::Range;

/// The word that every chunk holds.
pub(super) const EVERY_CHUNK: &str = "ledger";
/// A document has as many chunks at most.
const CHUNKS_MAX: u64 = 4;
/// One revision in so many is a long one, which takes the log several pages.
const LONG_EVERY: u64 = 29;
const LONG_WORDS: u64 = 4_000;
const SHORT_WORDS: u64 = 60;
/// Different words that fill up a chunk.
const FILLER_WORDS: u64 = 97;

/// One revision of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Revision {
    number: u64,
    pub(super) chunks: Vec<String>,
}

impl Revision {
    /// What `document` holds in revision `number`.
    pub(super) fn of(document: &str, number: u64) -> Revision {
        let drawn = draw(number, u64::MAX);
        let count = 1 + drawn % CHUNKS_MAX;
        let words = if number.is_multiple_of(LONG_EVERY) { LONG_WORDS } else { drawn / CHUNKS_MAX % SHORT_WORDS };
        let word = token(number);
        let chunk = |part: u64| {
            let first = draw(number, part);
            let filler: String = (0..words).map(|n| format!(" {}", token(first ^ (n % FILLER_WORDS)))).collect();
            format!("{EVERY_CHUNK} {word} revision {number} of {document}, part {part} of {count}{filler}")
        };
        Revision { number, chunks: (1..=count).map(chunk).collect() }
    }

    /// The whole text.
    pub(super) fn text(&self) -> String {
        self.chunks.join("\n\n")
    }

    /// Where each chunk stands in the text.
    pub(super) fn spans(&self) -> Vec<Range<usize>> {
        let mut start = 0;
        let span = |chunk: &String| {
            let span = start..start + chunk.len();
            start = span.end + "\n\n".len();
            span
        };
        self.chunks.iter().map(span).collect()
    }

    /// A word that no other revision has.
    pub(super) fn word(&self) -> String {
        token(self.number)
    }

    /// The vector of a chunk: one corner of a cube, and so nearly at right angles to every other chunk's.
    pub(super) fn vector(&self, part: usize, dimension: usize) -> Vec<f32> {
        let mut bytes = vec![0; dimension.div_ceil(8)];
        let mut hash = blake3::Hasher::new();
        hash.update(&self.number.to_le_bytes()).update(&(part as u64).to_le_bytes()).finalize_xof().fill(&mut bytes);
        let length = 1.0 / (dimension as f32).sqrt();
        (0..dimension).map(|n| if bytes[n / 8] >> (n % 8) & 1 == 1 { length } else { -length }).collect()
    }
}

/// The number of the revision that `text` begins with.
pub(super) fn number_in(text: &str) -> Option<u64> {
    text.split(' ').skip_while(|word| *word != "revision").nth(1)?.parse().ok()
}

/// A word of its own for each number. It has no vowel, so that nothing takes it for a word with an ending.
fn token(number: u64) -> String {
    let letter = |digit: u32| char::from(b"bcdfghjklmnpqrtv"[(number >> (4 * digit)) as usize % 16]);
    (0..u64::BITS / 4).map(letter).collect()
}

fn draw(number: u64, domain: u64) -> u64 {
    let mut hash = blake3::Hasher::new();
    hash.update(&number.to_le_bytes()).update(&domain.to_le_bytes());
    let mut bytes = [0; 8];
    hash.finalize_xof().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_like_no_other_and_says_which_it_is() {
        for number in 0..200 {
            let revision = Revision::of("t/a/1", number);
            let text = revision.text();
            assert_eq!(number_in(&text), Some(number));
            let quoted: Vec<&str> = revision.spans().into_iter().map(|span| &text[span]).collect();
            assert_eq!(quoted, revision.chunks);
            let next = Revision::of("t/a/1", number + 1);
            assert!(!next.text().contains(&revision.word()) && next.text() != text);
            assert_ne!(Revision::of("t/a/2", number).text(), text);
            let cosine: f32 = revision.vector(0, 384).iter().zip(next.vector(0, 384)).map(|(a, b)| a * b).sum();
            assert!(cosine.abs() < 0.4, "{cosine}");
        }
    }
}
