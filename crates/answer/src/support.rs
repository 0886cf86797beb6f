//! The piece of a source that a claim rests on.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::units::{UnitKind, units};
use crate::words::words;

/// A claim of fewer words stands in many places by chance, so it is a quotation only of a whole unit.
const QUOTED_WORDS_MIN: usize = 4;
/// The least share of a claim's weight that a sentence must have in common with it to be called its support.
const SHARE_MIN: f64 = 0.3;

/// How a claim's support was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// The claim's own words, modulo white space and the kind of brackets.
    Verbatim,
    /// The unit that has most in common with it.
    Unit,
    /// Nothing smaller than the chunk.
    Chunk,
}

/// Where in a chunk a claim's support stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Support {
    /// Bytes of the chunk's text; cuts no character.
    pub(crate) bytes: Range<usize>,
    /// How it was found.
    pub(crate) found: Found,
}

/// The piece of `chunk` that supports `claim`: its own words if they stand there, else the sentence, list item or row
/// with the highest cosine of tf-idf vectors, where a word's weight is `ln(1 + units / units with it)` within this chunk
/// (after Sparck Jones, 1972) and the first of equals wins, else all of it.
pub(crate) fn support(claim: &str, chunk: &str) -> Support {
    let candidates: Vec<Range<usize>> =
        units(chunk).into_iter().filter(|unit| unit.kind != UnitKind::Heading).map(|unit| unit.bytes).collect();
    if let Some(bytes) = verbatim(claim, chunk, &candidates) {
        return Support { bytes, found: Found::Verbatim };
    }
    match nearest(claim, chunk, &candidates) {
        Some(bytes) => Support { bytes, found: Found::Unit },
        None => Support { bytes: 0..chunk.len(), found: Found::Chunk },
    }
}

fn nearest(claim: &str, chunk: &str, candidates: &[Range<usize>]) -> Option<Range<usize>> {
    let claim: BTreeSet<String> = words(claim).collect();
    let vectors: Vec<BTreeSet<String>> =
        candidates.iter().map(|bytes| words(&chunk[bytes.clone()]).collect()).collect();
    let mut units_with: BTreeMap<&str, u32> = BTreeMap::new();
    for word in vectors.iter().flatten() {
        *units_with.entry(word).or_default() += 1;
    }
    let units = vectors.len() as f64;
    // A word that the chunk has not weighs as one that a single unit has.
    let weight = |word: &String| (1.0 + units / f64::from(units_with.get(word.as_str()).copied().unwrap_or(1))).ln();
    let claim_weight: f64 = claim.iter().map(weight).sum();
    let mut best: Option<(f64, usize)> = None;
    for (ordinal, vector) in vectors.iter().enumerate() {
        let common: Vec<f64> = vector.intersection(&claim).map(weight).collect();
        if common.is_empty() || common.iter().sum::<f64>() < SHARE_MIN * claim_weight {
            continue;
        }
        // The claim's own length is the same for all, so it is left out of the cosine.
        let square = |weight: f64| weight * weight;
        let length = vector.iter().map(|word| square(weight(word))).sum::<f64>().sqrt();
        let cosine = common.into_iter().map(square).sum::<f64>() / length;
        if best.is_none_or(|(highest, _)| cosine > highest) {
            best = Some((cosine, ordinal));
        }
    }
    best.map(|(_, ordinal)| candidates[ordinal].clone())
}

fn verbatim(claim: &str, chunk: &str, candidates: &[Range<usize>]) -> Option<Range<usize>> {
    let whole = Folded::of(claim).text;
    let open = whole.trim_end_matches(['.', '!', '?', ':', ';', ',']);
    if open.is_empty() {
        return None;
    }
    if whole.split(' ').count() >= QUOTED_WORDS_MIN {
        let chunk = Folded::of(chunk);
        return chunk.find(&whole).or_else(|| chunk.find(open));
    }
    let equal = |bytes: &&Range<usize>| {
        let unit = Folded::of(&chunk[(*bytes).clone()]).text;
        unit == whole || unit.trim_end_matches(['.', '!', '?', ':', ';', ',']) == open
    };
    candidates.iter().find(equal).cloned()
}

/// A text with runs of white space as one space, none at its ends, and round brackets for all brackets.
struct Folded {
    text: String,
    /// For each byte of `text`, the bytes of the character it was made from.
    from: Vec<Range<usize>>,
}

impl Folded {
    fn of(text: &str) -> Folded {
        let mut folded = Folded { text: String::new(), from: Vec::new() };
        let mut space = None;
        for (at, found) in text.char_indices() {
            let bytes = at..at + found.len_utf8();
            if found.is_whitespace() {
                space = space.or(Some(bytes));
                continue;
            }
            if let Some(space) = space.take().filter(|_| !folded.text.is_empty()) {
                folded.push(' ', space);
            }
            let found = match found {
                '[' | '【' | '（' => '(',
                ']' | '】' | '）' => ')',
                other => other,
            };
            folded.push(found, bytes);
        }
        folded
    }

    fn push(&mut self, found: char, from: Range<usize>) {
        self.text.push(found);
        self.from.resize(self.text.len(), from);
    }

    /// Where `wanted` first stands as whole words, in bytes of the text that was folded.
    fn find(&self, wanted: &str) -> Option<Range<usize>> {
        let inside = |at: Option<char>| at.is_some_and(char::is_alphanumeric);
        self.text.match_indices(wanted).find_map(|(start, piece)| {
            let end = start + piece.len();
            let cut = inside(self.text[..start].chars().next_back()) && inside(piece.chars().next())
                || inside(self.text[end..].chars().next()) && inside(piece.chars().next_back());
            (!cut).then(|| self.from[start].start..self.from[end - 1].end)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: &str = "## Refunds\n\nRefunds are paid\nwithin 14 days. They go to the card that paid [1].\n\n- Basic: no refund\n- Pro: full refund\n";

    #[track_caller]
    fn check(claim: &str, quote: &str, found: Found) {
        let support = support(claim, CHUNK);
        assert_eq!((&CHUNK[support.bytes], support.found), (quote, found), "{claim}");
    }

    #[test]
    fn the_source_of_a_claim_is_its_words_else_the_nearest_unit_else_the_chunk() {
        check("Refunds are paid within 14 days.", "Refunds are paid\nwithin 14 days.", Found::Verbatim);
        check("go to the card that paid (1)", "go to the card that paid [1]", Found::Verbatim);
        check("Pro: full refund.", "Pro: full refund", Found::Verbatim);
        check("You get a refund in fourteen days", "Refunds are paid\nwithin 14 days.", Found::Unit);
        check("The money returns to the same card", "They go to the card that paid [1].", Found::Unit);
        check("full", "Pro: full refund", Found::Unit);
        check("Elephants live in Africa", CHUNK, Found::Chunk);
        check("", CHUNK, Found::Chunk);
    }

    #[test]
    fn a_quotation_ends_at_a_word() {
        let found = support("refunds are paid within 14 days", "refunds are paid within 14 daysies");
        assert_eq!(found.found, Found::Unit);
    }
}
