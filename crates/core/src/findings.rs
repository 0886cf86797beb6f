//! What is noticed of a text and of a chunk while it is cut.

use serde::{Deserialize, Serialize};

/// What was noticed of a document's text: for its owner to look at. Nothing is removed or refused because of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Bytes of the stored text that are in no chunk.
    pub dropped_bytes: u32,
    /// Bytes of the original that are not in the stored text: menus, running headers, hidden text.
    pub left_out_bytes: u32,
    /// The language that most of its words are of, as ISO 639-1 writes it (`en`); empty: it cannot be told.
    pub language: String,
    /// It reads like the output of a text recognition that failed.
    pub noisy: bool,
    /// It has sentences that tell a language model what to do.
    pub instructs: bool,
}

/// What the words of a chunk are like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Likeness {
    /// SimHash over its runs of three words (Charikar, STOC 2002); 0: it is too short to be compared.
    pub words: u64,
    /// A hash of every word with a digit in it and of every negation, in order: texts that differ in one are no duplicates.
    pub numbers: u32,
}

/// Fingerprints of near-duplicates differ in at most so many bits (Manku, Jain, Das Sarma, WWW 2007, for 64 bits).
const BITS_APART_MAX: u32 = 3;

impl Likeness {
    /// Whether two chunks say the same in nearly the same words.
    pub fn is_near(self, other: Likeness) -> bool {
        self.words != 0
            && other.words != 0
            && self.numbers == other.numbers
            && (self.words ^ other.words).count_ones() <= BITS_APART_MAX
    }
}
