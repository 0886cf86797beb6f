//! What a search found.

use crate::{ChunkId, CollectionName, DocumentId, MediaType, Metadata, Place, Revision, Span};

/// A score and the place it gave in its list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranked {
    /// The place, from 1.
    pub rank: u32,
    /// The score, on the scale that the field's name says.
    pub score: f32,
}

/// The score of every stage that saw the hit, each on its own scale.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Scores {
    /// BM25, 0 and up.
    pub bm25: Option<Ranked>,
    /// Cosine of question and chunk, -1 to 1.
    pub cosine: Option<Ranked>,
    /// Reciprocal rank fusion of the lists above.
    pub rrf: Option<Ranked>,
    /// The small cross-encoder's raw score, any real number.
    pub small_logit: Option<Ranked>,
    /// The large cross-encoder's raw score, any real number.
    pub rerank_logit: Option<Ranked>,
    /// How likely the hit answers the question, 0 to 1, by the largest cross-encoder that scored it.
    pub relevance: Option<Ranked>,
    /// Relevance mixed with the fused score, 0 to 1.
    pub mixed: Option<Ranked>,
}

/// The least scores of a hit that is kept. A hit that a cross-encoder scored is judged by its relevance and by the large
/// one's logit, any other by its cosine. A score that the hit has not, or that has no floor, judges nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Floor {
    /// For hits that a cross-encoder scored.
    pub relevance: Option<f32>,
    /// For hits that the large cross-encoder scored.
    pub rerank_logit: Option<f32>,
    /// For hits that no cross-encoder scored.
    pub cosine: Option<f32>,
}

impl Floor {
    /// Whether a hit with these scores is kept.
    pub fn admits(&self, scores: &Scores) -> bool {
        let holds = |floor: Option<f32>, ranked: Option<Ranked>| match (floor, ranked) {
            (Some(floor), Some(ranked)) => ranked.score >= floor,
            (None, _) | (_, None) => true,
        };
        if scores.relevance.is_none() && scores.rerank_logit.is_none() {
            return holds(self.cosine, scores.cosine);
        }
        holds(self.relevance, scores.relevance) && holds(self.rerank_logit, scores.rerank_logit)
    }
}

/// What a model reads around a chunk: the title, then the headings, each that is there and does not repeat the one before;
/// below them what is repeated with the chunk.
pub fn context(title: &str, heading_path: &[String], repeated: Option<&str>) -> String {
    let mut parts: Vec<&str> = Vec::with_capacity(heading_path.len() + 1);
    for part in std::iter::once(title).chain(heading_path.iter().map(String::as_str)) {
        if !part.is_empty() && parts.last() != Some(&part) {
            parts.push(part);
        }
    }
    let headings = parts.join(" > ");
    match repeated.filter(|repeated| !repeated.is_empty()) {
        Some(repeated) if headings.is_empty() => repeated.to_owned(),
        Some(repeated) => format!("{headings}\n{repeated}"),
        None => headings,
    }
}

/// A chunk that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The collection it is from.
    pub collection: CollectionName,
    /// Its document.
    pub document: DocumentId,
    /// The document's revision that was searched.
    pub revision: Revision,
    /// The chunk.
    pub chunk: ChunkId,
    /// Where it stands in the document's stored text.
    pub span: Span,
    /// The document's title; empty if it has none.
    pub title: String,
    /// The document's source URI; empty if it has none.
    pub source_uri: String,
    /// How the document's bytes were read.
    pub media_type: MediaType,
    /// The headings above the chunk, outermost first.
    pub heading_path: Vec<String>,
    /// The chunk's text: `span` of the stored text.
    pub text: String,
    /// The document's metadata.
    pub metadata: Metadata,
    /// What is repeated with the chunk, elsewhere in the stored text: its table's header row, its code's imports.
    pub context: Option<String>,
    /// Where the chunk stands in the original, where the text was made from one.
    pub places: Vec<Place>,
    /// What each stage thought of it.
    pub scores: Scores,
    /// Other chunks that say the same in nearly the same words, in the order in which they would have been ranked.
    pub duplicates: Vec<Duplicate>,
    /// The piece of the document around it, where one is asked for.
    pub passage: Option<Passage>,
}

/// A chunk that is not ranked beside the hit which it repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// The collection it is from.
    pub collection: CollectionName,
    /// Its document.
    pub document: DocumentId,
    /// The document's revision that was searched.
    pub revision: Revision,
    /// The chunk.
    pub chunk: ChunkId,
    /// Where it stands in the document's stored text.
    pub span: Span,
}

/// A piece of a document around hits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passage {
    /// It begins and ends with whole chunks.
    Text {
        /// Where it stands in the document's stored text.
        span: Span,
        /// Its text.
        text: String,
    },
    /// It is the same as, or overlaps, that of a hit further up, which has both.
    WithRank(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_judges_the_scores_there_are() {
        let ranked = |score| Some(Ranked { rank: 1, score });
        let floor = Floor { relevance: Some(0.5), rerank_logit: Some(0.0), cosine: Some(0.3) };
        let none = Scores { cosine: ranked(0.2), ..Scores::default() };
        let small = Scores { relevance: ranked(0.6), ..none };
        let large = |logit| Scores { rerank_logit: ranked(logit), ..small };
        assert!(!floor.admits(&none) && Floor { cosine: None, ..floor }.admits(&none));
        assert!(floor.admits(&small) && !Floor { relevance: Some(0.7), ..floor }.admits(&small));
        assert!(floor.admits(&large(0.1)) && !floor.admits(&large(-0.1)));
        assert!(floor.admits(&Scores::default()));
    }

    #[test]
    fn a_context_says_nothing_twice_in_a_row() {
        let headings = |path: &[&str]| path.iter().map(|heading| (*heading).to_owned()).collect::<Vec<_>>();
        assert_eq!(context("Terms", &headings(&["Terms", "", "Refunds"]), None), "Terms > Refunds");
        assert_eq!(context("", &[], None), "");
        assert_eq!(context("", &[], Some("a | b")), "a | b");
        assert_eq!(context("Terms", &[], Some("a | b")), "Terms\na | b");
    }
}
