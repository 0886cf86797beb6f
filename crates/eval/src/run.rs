//! What a search gave for each query, best first.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};

use ibid_core::DocumentId;

use crate::EvalError;

/// What a search gave for each query: documents, best first, each once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Run {
    rankings: BTreeMap<String, Vec<DocumentId>>,
}

impl Run {
    /// Orders each query's documents as trec_eval does, whatever order they come in: highest score first, equal scores
    /// (as `f32`, which is what trec_eval keeps) by descending bytes of the id. A document that comes several times, one
    /// time a chunk, counts once, with its best score.
    ///
    /// # Errors
    /// [`EvalError::Score`] for NaN.
    pub fn from_scores(scores: impl IntoIterator<Item = (String, Vec<(DocumentId, f32)>)>) -> Result<Run, EvalError> {
        let mut rankings = BTreeMap::new();
        for (query, mut scored) in scores {
            if let Some((document, _)) = scored.iter().find(|(_, score)| score.is_nan()) {
                return Err(EvalError::Score { query, document: document.clone() });
            }
            scored.sort_by(|(a, a_score), (b, b_score)| {
                // 0.0 and -0.0 are equal here, as in C.
                b_score.partial_cmp(a_score).unwrap_or(Ordering::Equal).then_with(|| b.cmp(a))
            });
            rankings.insert(query, once_each(scored.into_iter().map(|(document, _)| document)));
        }
        Ok(Run { rankings })
    }

    /// Takes each query's documents in the order in which they come, best first: for lists whose order is more than a
    /// score, such as diversified ones. A document that comes several times counts at its first place.
    pub fn from_rankings(rankings: impl IntoIterator<Item = (String, Vec<DocumentId>)>) -> Run {
        let rankings = rankings.into_iter().map(|(query, documents)| (query, once_each(documents.into_iter())));
        Run { rankings: rankings.collect() }
    }

    /// The documents found for `query`, best first; empty if there are none.
    pub fn ranking(&self, query: &str) -> &[DocumentId] {
        self.rankings.get(query).map_or(&[], Vec::as_slice)
    }
}

fn once_each(documents: impl Iterator<Item = DocumentId>) -> Vec<DocumentId> {
    let mut seen = HashSet::new();
    documents.filter(|document| seen.insert(document.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> DocumentId {
        DocumentId::new(text).unwrap()
    }

    fn names(run: &Run) -> Vec<&str> {
        run.ranking("q").iter().map(DocumentId::as_str).collect()
    }

    #[test]
    fn scores_order_as_in_trec_eval_and_a_document_counts_once() {
        let scored = [("a", 0.0), ("c", -0.0), ("b", 2.0), ("a", 3.0), ("d", -1.0), ("b", 1.0)];
        let scored = scored.iter().map(|(name, score)| (id(name), *score)).collect();
        let run = Run::from_scores([("q".to_owned(), scored)]).unwrap();
        assert_eq!(names(&run), ["a", "b", "c", "d"]);
        assert!(run.ranking("other").is_empty());

        let ranked = ["b", "a", "b"].map(id).to_vec();
        assert_eq!(names(&Run::from_rankings([("q".to_owned(), ranked)])), ["b", "a"]);

        let nan = Run::from_scores([("q".to_owned(), vec![(id("a"), f32::NAN)])]);
        assert_eq!(nan.unwrap_err().to_string(), "document a has the score NaN for query q");
    }
}
