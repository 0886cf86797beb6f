//! A generator's deltas to text with canonical markers, and a citation for each.
//!
//! A marker is what [`crate::markers`] reads as one; it leaves here as `[doc_n]`, one for each number. A number that no
//! source has is dropped, with one space before it, and counted, if the marker is named; a bare one is then plain text.
//! Nothing is decided before enough text is there, so where deltas are cut changes nothing. At most 512 bytes are held
//! back: a marker that is not whole yet, and the space before it.

use std::ops::Range;

use ibid_core::{Citation, Hit};

use crate::markers::{Before, Form, Marker, Parsed, Tail, canonical, is_opener, neutral, parse};
use crate::support::{Found, Support, support};
use crate::units::units;
use crate::verify::verdict;

/// A piece of the answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    /// The next text; never empty, and never a part of a marker.
    Text(String),
    /// The citation of the marker that the text before ends in.
    Citation(Box<Citation>),
}

/// Reads deltas, remembers what it holds back.
#[derive(Debug)]
pub(crate) struct Citer {
    hits: Vec<Hit>,
    held: String,
    before: Before,
    /// The answer's text since the last marker.
    region: String,
    /// Bytes of the answer before `region`.
    region_start: usize,
    /// The claim of the last marker.
    claim: Option<Claim>,
    unknown_markers: u32,
}

#[derive(Debug, Clone)]
struct Claim {
    /// In bytes of the answer.
    bytes: Range<usize>,
    text: String,
}

impl Citer {
    /// For an answer from `hits`, of which the first is `[doc_1]`.
    pub(crate) fn new(hits: Vec<Hit>) -> Citer {
        Citer {
            hits,
            held: String::new(),
            before: Before::default(),
            region: String::new(),
            region_start: 0,
            claim: None,
            unknown_markers: 0,
        }
    }

    /// Takes the next delta and gives what is certain by now.
    pub(crate) fn push(&mut self, delta: &str) -> Vec<Piece> {
        self.held.push_str(delta);
        self.read(Tail::Open)
    }

    /// Gives the rest: no more deltas come. A named marker that is cut off here is dropped.
    pub(crate) fn finish(&mut self) -> Vec<Piece> {
        self.read(Tail::End)
    }

    /// How many numbers were named that no source has.
    pub(crate) fn unknown_markers(&self) -> u32 {
        self.unknown_markers
    }

    fn read(&mut self, tail: Tail) -> Vec<Piece> {
        let text = std::mem::take(&mut self.held);
        let mut pieces = Vec::new();
        let mut out = String::new();
        let mut at = 0;
        while let Some(found) = text[at..].chars().next() {
            // A space is decided together with the marker behind it.
            let space = usize::from(found == ' ');
            let marker_at = at + space;
            let opens = space == 1 && marker_at == text.len() || text[marker_at..].starts_with(is_opener);
            let parsed = if opens { parse(&text[marker_at..], tail) } else { Parsed::Text };
            match parsed {
                Parsed::Incomplete => break,
                Parsed::Marker(marker) if let Some(known) = self.known(&marker, space == 1) => {
                    self.unknown_markers += u32::try_from(marker.numbers.len() - known.len()).unwrap_or(u32::MAX);
                    if space == 1 && !known.is_empty() {
                        self.say(' ', &mut out);
                    }
                    if known.is_empty() && self.would_join() {
                        // Dropped, it would make a marker of what stands around it, as in `[doc_[doc_9]1]`.
                        let kept = neutral(&text[at..marker_at + marker.bytes]);
                        kept.chars().for_each(|found| self.say(found, &mut out));
                    }
                    for number in known {
                        self.cite(number, &mut out, &mut pieces);
                    }
                    at = marker_at + marker.bytes;
                }
                Parsed::Marker(_) | Parsed::Text => {
                    self.say(found, &mut out);
                    at += found.len_utf8();
                }
            }
        }
        text[at..].clone_into(&mut self.held);
        flush(&mut out, &mut pieces);
        pieces
    }

    /// The numbers of `marker` that sources have; `None` if it is plain text here.
    fn known(&self, marker: &Marker, after_space: bool) -> Option<Vec<u32>> {
        let mut before = self.before;
        if after_space {
            before.advance(' ');
        }
        let is_known = |number: &u32| (1..=self.hits.len()).contains(&(*number as usize));
        let all = || marker.numbers.iter().all(is_known);
        let counts = match marker.form {
            Form::Named => true,
            Form::BareSquare | Form::BareLenticular => before.allows(marker.form) && all(),
        };
        counts.then(|| marker.numbers.iter().copied().filter(is_known).collect())
    }

    fn say(&mut self, found: char, out: &mut String) {
        self.before.advance(found);
        self.region.push(found);
        out.push(found);
    }

    /// Whether the text so far ends in what could be the start of a marker.
    fn would_join(&self) -> bool {
        self.region.rfind(is_opener).is_some_and(|start| parse(&self.region[start..], Tail::Open) == Parsed::Incomplete)
    }

    fn cite(&mut self, number: u32, out: &mut String, pieces: &mut Vec<Piece>) {
        let marker = canonical(number);
        let claim = self.claim_here();
        out.push_str(&marker);
        flush(out, pieces);
        let hit = &self.hits[number as usize - 1];
        pieces.push(Piece::Citation(Box::new(citation(number, hit, &claim))));
        self.region_start += self.region.len() + marker.len();
        self.region.clear();
        marker.chars().for_each(|found| self.before.advance(found));
        self.claim = Some(claim);
    }

    /// The claim of a marker at the end of the region: its last unit. Right behind another marker it is that one's claim;
    /// with nothing before it, it is empty.
    fn claim_here(&self) -> Claim {
        let says_nothing = !self.region.contains(char::is_alphanumeric);
        if let Some(claim) = self.claim.as_ref().filter(|_| says_nothing && !self.region.contains('\n')) {
            return claim.clone();
        }
        let unit = units(&self.region).pop().filter(|_| !says_nothing);
        let end = self.region_start + self.region.len();
        let Some(unit) = unit else { return Claim { bytes: end..end, text: String::new() } };
        // What closes the claim before, and what opens a bracket around this marker, belongs to neither.
        let unit_text = &self.region[unit.bytes.clone()];
        let text = unit_text.trim_start_matches(|found: char| found.is_whitespace() || ".,;:)".contains(found));
        let start = self.region_start + unit.bytes.start + unit_text.len() - text.len();
        let text = text.trim_end_matches(|found: char| found.is_whitespace() || "([".contains(found));
        Claim { bytes: start..start + text.len(), text: text.to_owned() }
    }
}

fn flush(out: &mut String, pieces: &mut Vec<Piece>) {
    if !out.is_empty() {
        pieces.push(Piece::Text(std::mem::take(out)));
    }
}

fn citation(source: u32, hit: &Hit, claim: &Claim) -> Citation {
    let Support { bytes, found } = support(&claim.text, &hit.text);
    let verdict = verdict(&claim.text, &Support { bytes: bytes.clone(), found }, hit);
    let quote = hit.text[bytes.clone()].to_owned();
    Citation {
        answer: claim.bytes.clone(),
        source,
        collection: hit.collection.clone(),
        document: hit.document.clone(),
        revision: hit.revision,
        chunk: hit.chunk,
        span: if found == Found::Chunk { hit.span } else { hit.span.piece(bytes).unwrap_or(hit.span) },
        quote_hash: *blake3::hash(quote.as_bytes()).as_bytes(),
        quote,
        verdict,
    }
}

/// `text` without its named markers: those of an earlier answer numbered other sources.
pub(crate) fn without_markers(text: &str) -> String {
    let mut citer = Citer::new(Vec::new());
    let pieces = citer.push(text).into_iter().chain(citer.finish());
    pieces
        .filter_map(|piece| match piece {
            Piece::Text(text) => Some(text),
            Piece::Citation(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PREFACE, hit};
    use ibid_core::Verdict;
    use proptest::prelude::*;

    const HELD_BYTES_MAX: usize = 512;

    const SOURCES: [&str; 3] = [
        "Refunds are paid within 14 days. They go to the card that paid.",
        "The Basic plan costs 10 EUR a month.\n\n- No support\n- No refunds",
        "Zebras live in herds.",
    ];

    fn citer() -> Citer {
        Citer::new((1..).zip(SOURCES).map(|(number, text)| hit(number, text)).collect())
    }

    #[derive(Debug, PartialEq)]
    struct Answer {
        text: String,
        citations: Vec<Citation>,
        unknown: u32,
    }

    fn answer<'a>(deltas: impl IntoIterator<Item = &'a str>) -> Answer {
        let mut citer = citer();
        let mut answer = Answer { text: String::new(), citations: Vec::new(), unknown: 0 };
        let mut take = |pieces: Vec<Piece>| {
            for piece in pieces {
                match piece {
                    Piece::Text(text) => answer.text.push_str(&text),
                    Piece::Citation(citation) => {
                        assert!(answer.text.ends_with(&canonical(citation.source)), "a citation follows its marker");
                        answer.citations.push(*citation);
                    }
                }
            }
        };
        for delta in deltas {
            take(citer.push(delta));
            assert!(citer.held.len() <= HELD_BYTES_MAX);
        }
        take(citer.finish());
        answer.unknown = citer.unknown_markers();
        answer
    }

    /// `expected`: the text, and for each citation its number and its claim.
    #[track_caller]
    fn check(generated: &str, text: &str, expected: &[(u32, &str)]) {
        let answer = answer([generated]);
        assert_eq!(answer.text, text);
        let claims: Vec<(u32, &str)> =
            answer.citations.iter().map(|citation| (citation.source, &text[citation.answer.clone()])).collect();
        assert_eq!(claims, expected);
    }

    #[test]
    fn each_marker_cites_the_claim_before_it() {
        check(
            "Hello. A is so [doc_1]. B too. [Doc 2]",
            "Hello. A is so [doc_1]. B too. [doc_2]",
            &[(1, "A is so"), (2, "B too.")],
        );
        check("A, e.g. x [1], and B【2】.", "A, e.g. x [doc_1], and B[doc_2].", &[(1, "A, e.g. x"), (2, "and B")]);
        check("So [doc_1, doc_3] [2].", "So [doc_1][doc_3] [doc_2].", &[(1, "So"), (3, "So"), (2, "So")]);
        check(
            "List:\n- One. Two ([doc_1])\n- Three [doc_2]",
            "List:\n- One. Two ([doc_1])\n- Three [doc_2]",
            &[(1, "One. Two"), (2, "Three")],
        );
        check("[doc_1] So it is.\n\n[doc_2]", "[doc_1] So it is.\n\n[doc_2]", &[(1, ""), (2, "So it is.")]);
        check("A [doc_1].\n[doc_2] B", "A [doc_1].\n[doc_2] B", &[(1, "A"), (2, "")]);
    }

    #[test]
    fn what_is_no_marker_stays_and_what_names_no_source_goes() {
        let other = "See [1](u), [link](u), array[0], a[1], [x], `[1]`, [4], [1, 9].\n```\n- [ ] v = [1]\n```\n";
        check(other, other, &[]);
        check("So [doc_9] it [doc_0, doc_1] is [doc_7].", "So it [doc_1] is.", &[(1, "So it")]);
        assert_eq!(answer(["So [doc_9] it [doc_0, doc_1] is [doc_7]."]).unknown, 3);
        check("So it is [doc_", "So it is", &[]);
        check("So [doc_[doc_9]1] [1,[doc_9]2]", "So [doc_(doc_9)1] [1,(doc_9)2]", &[]);
        assert_eq!(without_markers("So it is [doc_1], [2]."), "So it is, [2].");
    }

    #[test]
    fn a_citation_resolves_in_the_stored_text() {
        let answer =
            answer(["They go to the card that paid. [doc_1] Basic is 12 EUR a month [doc_2] for pupils [doc_3]"]);
        let expected = [
            ("They go to the card that paid.", Verdict::Quoted),
            ("The Basic plan costs 10 EUR a month.", Verdict::Contradicted),
            (SOURCES[2], Verdict::Unchecked),
        ];
        for (citation, (quote, verdict)) in answer.citations.iter().zip(expected) {
            let stored = format!("{PREFACE}{}", SOURCES[citation.source as usize - 1]);
            assert_eq!((citation.quote.as_str(), citation.verdict), (quote, verdict));
            assert_eq!(citation.span.quote(&stored), Some(quote));
            assert_eq!(citation.quote_hash, *blake3::hash(quote.as_bytes()).as_bytes());
        }
        assert_eq!(answer.citations.len(), expected.len());
    }

    fn generated() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            "[A-Z][a-z]{1,6}( [a-z0-9]{1,6}){0,3}[.]?",
            "(\\[|【|\\[d|\\[DOC_|\\[doc_|, ?doc)[ ]{0,3}[0-9]{0,7}[],;】 ]{0,2}",
            "\\[doc_[0-4]\\]",
            "[ `\n(1-9,é【】\\[\\]_d]{0,6}",
        ];
        prop::collection::vec(part, 0..20).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn where_deltas_are_cut_changes_nothing(text in generated(), cuts in prop::collection::vec(1usize..9, 1..40)) {
            let mut deltas = Vec::new();
            let mut rest = text.as_str();
            for cut in cuts.iter().cycle() {
                let Some((end, _)) = rest.char_indices().nth(*cut) else { break };
                let (delta, more) = rest.split_at(end);
                deltas.push(delta);
                rest = more;
            }
            deltas.push(rest);
            prop_assert_eq!(answer(deltas), answer([text.as_str()]));
        }

        #[test]
        fn the_text_has_a_marker_for_each_citation_and_no_other(text in generated()) {
            let answer = answer([text.as_str()]);
            let canonical: Vec<u32> = answer
                .text
                .match_indices("[doc_")
                .filter_map(|(at, _)| answer.text[at + 5..].split_once(']')?.0.parse().ok())
                .collect();
            let cited: Vec<u32> = answer.citations.iter().map(|citation| citation.source).collect();
            prop_assert_eq!(canonical, cited);
            for citation in &answer.citations {
                prop_assert!(answer.text.get(citation.answer.clone()).is_some());
            }
            // Said again, it is the same: everything that can be a marker is one already.
            let again = self::answer([answer.text.as_str()]);
            prop_assert_eq!(again.unknown, 0);
            prop_assert_eq!(again.text, answer.text);
        }
    }
}
