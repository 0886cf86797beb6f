//! BM25 over one snapshot: the best `n` living chunks among the allowed ones.
//!
//! `bm25 = sum over the question's terms of idf * (K1 + 1) * tf / (tf + K1 * (1 - B + B * length / mean length))` with
//! `idf = ln(1 + (N - df + 0.5) / (df + 0.5))` (Robertson, Zaragoza, "The Probabilistic Relevance Framework: BM25 and
//! Beyond", 2009). `N`, `df` and the mean length are those of the living chunks of this partition.
//!
//! Chunks are scored in windows: within a window term after term, the rarest first. So a chunk's sum has one order
//! whatever the segments are, and its bits do not depend on them.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use ibid_core::Label;
use ibid_runtime::Ctx;
use roaring::RoaringBitmap;
use tantivy::DocId;
use tantivy::fieldnorm::FieldNormReader;
use tantivy::postings::{BlockSegmentPostings, TermInfo};

use crate::analyse::distinct_terms;
use crate::error::guarded;
use crate::snapshot::{Segment, State};
use crate::{LexicalError, Snapshot};

const K1: f64 = 0.9;
const B: f64 = 0.4;
/// A question of more different terms is read up to here.
const TERMS_MAX: usize = 256;
/// Chunks that are scored together; their scores stay in the first-level cache.
const WINDOW: u32 = 4096;

/// A chunk with its score. Greater is better: the higher score, then the lower label.
#[derive(Clone, Copy)]
struct Scored {
    bm25: f32,
    label: Label,
}

impl Ord for Scored {
    fn cmp(&self, other: &Scored) -> Ordering {
        self.bm25.total_cmp(&other.bm25).then(other.label.cmp(&self.label))
    }
}
impl PartialOrd for Scored {
    fn partial_cmp(&self, other: &Scored) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Scored {
    fn eq(&self, other: &Scored) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Scored {}

/// A term of the question.
struct Term {
    /// `idf * (K1 + 1)`
    weight: f32,
    /// Its postings in each segment.
    places: Vec<Option<TermInfo>>,
}

impl Snapshot {
    /// The best `n` living chunks that share a term with `question` and are in `allowed` (`None`: all), with their
    /// BM25: the highest first, ties by ascending label. Statistics are the partition's, whatever is allowed. The
    /// question is plain text, no syntax; each term counts once, and of very many only the first 256. Without terms the
    /// list is empty.
    ///
    /// # Errors
    /// [`LexicalError::Stopped`]: asked once a term and once per 4,096 chunks. [`LexicalError::Failed`],
    /// [`LexicalError::Corrupt`]: see there.
    #[tracing::instrument(name = "lexical.search", skip_all, fields(n, segments = self.0.segments.len()))]
    pub fn search(
        &self,
        ctx: &Ctx,
        question: &str,
        n: usize,
        allowed: Option<&RoaringBitmap>,
    ) -> Result<Vec<(Label, f32)>, LexicalError> {
        guarded("search", || self.search_or_panic(ctx, question, n, allowed))
    }

    fn search_or_panic(
        &self,
        ctx: &Ctx,
        question: &str,
        n: usize,
        allowed: Option<&RoaringBitmap>,
    ) -> Result<Vec<(Label, f32)>, LexicalError> {
        ctx.check()?;
        let state = &*self.0;
        if n == 0 || allowed.is_some_and(RoaringBitmap::is_empty) {
            return Ok(Vec::new());
        }
        let terms = weigh(ctx, state, &distinct_terms(&state.analyzer, question, TERMS_MAX))?;
        let mut best = Best { n, allowed, heap: BinaryHeap::new() };
        if !terms.is_empty() {
            let lengths = length_penalties(state);
            for (ordinal, segment) in state.segments.iter().enumerate() {
                score_segment(ctx, segment, ordinal, &terms, &lengths, &mut best)?;
            }
        }
        Ok(best.into_list())
    }
}

/// The terms that living chunks hold, the rarest first.
fn weigh(ctx: &Ctx, state: &State, terms: &[String]) -> Result<Vec<Term>, LexicalError> {
    let mut found = Vec::with_capacity(terms.len());
    for text in terms {
        ctx.check()?;
        let (places, frequency) = state.find(text)?;
        if frequency > 0 {
            found.push((frequency, text, places));
        }
    }
    found.sort_by(|one, other| (one.0, one.1).cmp(&(other.0, other.1)));
    let weight = |frequency: u64| {
        let others = (state.chunks - frequency) as f64;
        let idf = ((others + 0.5) / (frequency as f64 + 0.5)).ln_1p();
        (idf * (K1 + 1.0)) as f32
    };
    Ok(found.into_iter().map(|(frequency, _, places)| Term { weight: weight(frequency), places }).collect())
}

/// What a chunk's length adds to the denominator, by [`Segment::length_code`].
fn length_penalties(state: &State) -> [f32; 256] {
    let mean = state.terms as f64 / state.chunks as f64;
    std::array::from_fn(|code| {
        let length = f64::from(FieldNormReader::id_to_fieldnorm(code as u8));
        (K1 * (1.0 - B + B * length / mean)) as f32
    })
}

fn score_segment(
    ctx: &Ctx,
    segment: &Segment,
    ordinal: usize,
    terms: &[Term],
    lengths: &[f32; 256],
    best: &mut Best<'_>,
) -> Result<(), LexicalError> {
    let mut cursors = Vec::with_capacity(terms.len());
    for term in terms {
        if let Some(place) = &term.places[ordinal] {
            cursors.push(Cursor { postings: segment.postings(place)?, at: 0, weight: term.weight });
        }
    }
    let mut scores = [0.0_f32; WINDOW as usize];
    while let Some(start) = cursors.iter().filter_map(Cursor::doc).min() {
        ctx.check()?;
        for cursor in &mut cursors {
            cursor.score(segment, start, lengths, &mut scores);
        }
        for (doc, score) in (start..).zip(&mut scores) {
            // What holds a term has a score above 0.
            if *score > 0.0 {
                best.offer(segment, doc, *score)?;
                *score = 0.0;
            }
        }
    }
    Ok(())
}

/// A term's postings in one segment.
struct Cursor {
    postings: BlockSegmentPostings,
    /// The next posting within the current block.
    at: usize,
    weight: f32,
}

impl Cursor {
    /// The next chunk; `None` at the end.
    fn doc(&self) -> Option<DocId> {
        self.postings.docs().get(self.at).copied()
    }

    /// Adds this term's part to the scores of the window from `start` on, and goes behind the window.
    fn score(&mut self, segment: &Segment, start: DocId, lengths: &[f32; 256], scores: &mut [f32; WINDOW as usize]) {
        loop {
            let (docs, frequencies) = (&self.postings.docs()[self.at..], &self.postings.freqs()[self.at..]);
            for (doc, frequency) in docs.iter().zip(frequencies) {
                let Some(score) = scores.get_mut((doc - start) as usize) else { return };
                let frequency = *frequency as f32;
                *score += self.weight * frequency / (frequency + lengths[usize::from(segment.length_code(*doc))]);
                self.at += 1;
            }
            // The block after the last is empty.
            if docs.is_empty() {
                return;
            }
            self.postings.advance();
            self.at = 0;
        }
    }
}

/// The best chunks so far.
struct Best<'a> {
    n: usize,
    allowed: Option<&'a RoaringBitmap>,
    /// The worst of them on top.
    heap: BinaryHeap<Reverse<Scored>>,
}

impl Best<'_> {
    fn offer(&mut self, segment: &Segment, doc: DocId, bm25: f32) -> Result<(), LexicalError> {
        let full = self.heap.len() == self.n;
        // Cheapest first: few chunks come near the best, and only those are looked up.
        if full && self.heap.peek().is_some_and(|worst| bm25 < worst.0.bm25) || !segment.is_alive(doc) {
            return Ok(());
        }
        let label = segment.label(doc)?;
        if self.allowed.is_none_or(|allowed| allowed.contains(label)) {
            self.heap.push(Reverse(Scored { bm25, label }));
            if full {
                self.heap.pop();
            }
        }
        Ok(())
    }

    fn into_list(self) -> Vec<(Label, f32)> {
        // Ascending in `Reverse` is the best first.
        self.heap.into_sorted_vec().into_iter().map(|Reverse(scored)| (scored.label, scored.bm25)).collect()
    }
}
