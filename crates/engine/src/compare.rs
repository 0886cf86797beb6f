//! What two models find, side by side: the recall that a change of the model would cost.
//!
//! Questions come with the documents that answer them. Where nobody has labelled any, they are drawn from the documents:
//! each one's title, or its first line, has to find it again. That is an easy test: it tells a model that does not work from
//! one that does, not a good one from a better one.

use std::collections::HashSet;
use std::sync::Arc;

use ibid_core::{DocumentId, Purpose, Reader};
use ibid_runtime::Ctx;

use crate::documents::Version;
use crate::error::EngineError;
use crate::lanes::Lane;
use crate::partition::State;
use crate::snapshot::Scope;

/// Documents that may be found, best first: recall is taken at this rank.
pub(crate) const RANK_MAX: usize = 10;
/// Chunks that are looked at for so many documents.
const CHUNKS: usize = 50;
/// Documents that questions are drawn from.
const SAMPLED_MAX: usize = 100;
/// The longest question drawn, in bytes.
const QUESTION_BYTES_MAX: usize = 200;
/// Questions embedded in one go.
const BATCH: usize = 16;

/// A question and the documents that answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    /// The question.
    pub question: String,
    /// The documents, at least one.
    pub relevant: Vec<DocumentId>,
}

/// What two models found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// How many questions were asked.
    pub queries: u32,
    /// Whether somebody had labelled them; else they were drawn from the documents.
    pub labelled: bool,
    /// Of the relevant documents (of ten at most), the share that the model which served then had among its best ten.
    pub recall_serving: f32,
    /// The same of the model that was coming.
    pub recall_coming: f32,
}

impl Comparison {
    /// How much recall a switch would have cost; below 0 where it would have won some.
    pub fn loss(&self) -> f32 {
        self.recall_serving - self.recall_coming
    }
}

/// Asks both lanes the same questions.
///
/// # Errors
/// [`EngineError::Unfit`] if there are no two lanes, or nothing to ask; or stopped, or a model failed.
pub(crate) async fn compare(
    ctx: &Ctx,
    state: &Arc<State>,
    reader: &Reader,
    labelled: &[Labelled],
) -> Result<Comparison, EngineError> {
    let lanes = state.lanes();
    let Some(coming) = lanes.second.as_ref().and_then(|second| second.lane.clone()) else {
        return Err(EngineError::Unfit("there is no second model to compare with".to_owned()));
    };
    let queries: Arc<[Labelled]> = if labelled.is_empty() { sample(ctx, state).await?.into() } else { labelled.into() };
    let recall_serving = recall(ctx, state, &lanes.serving, reader, &queries).await?;
    let recall_coming = recall(ctx, state, &coming, reader, &queries).await?;
    let asked = u32::try_from(queries.len()).unwrap_or(u32::MAX);
    Ok(Comparison { queries: asked, labelled: !labelled.is_empty(), recall_serving, recall_coming })
}

/// A question from each of some documents, spread over all of them by their ids.
async fn sample(ctx: &Ctx, state: &Arc<State>) -> Result<Vec<Labelled>, EngineError> {
    let served: Vec<(DocumentId, Version)> = {
        let documents = state.documents();
        let served = documents.listed(None).filter_map(|(_, entry)| Some((entry.id.clone(), entry.served()?)));
        let all: Vec<(DocumentId, &Version)> = served.filter(|(_, version)| version.embedded > 0).collect();
        let step = all.len().div_ceil(SAMPLED_MAX).max(1);
        all.into_iter().step_by(step).map(|(id, version)| (id, version.clone())).collect()
    };
    let own = Arc::clone(state);
    let draw = move || {
        let question = |(id, version): &(DocumentId, Version)| {
            let question = match version.title() {
                "" => first_line(&own.text(version.put).ok()?).to_owned(),
                title => cut_to(title, QUESTION_BYTES_MAX).to_owned(),
            };
            (!question.is_empty()).then(|| Labelled { question, relevant: vec![id.clone()] })
        };
        served.iter().filter_map(question).collect()
    };
    state.shared.parts.pool.run(ctx, draw).await.map_err(EngineError::of_pool)
}

fn first_line(text: &str) -> &str {
    let line = text.lines().map(|line| line.trim_matches(|c: char| !c.is_alphanumeric())).find(|line| !line.is_empty());
    cut_to(line.unwrap_or_default(), QUESTION_BYTES_MAX)
}

fn cut_to(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// The mean recall of a lane over the questions; 1 if there are none.
async fn recall(
    ctx: &Ctx,
    state: &Arc<State>,
    lane: &Arc<Lane>,
    reader: &Reader,
    queries: &Arc<[Labelled]>,
) -> Result<f32, EngineError> {
    let mut sum = 0.0;
    for from in (0..queries.len()).step_by(BATCH) {
        let batch = from..queries.len().min(from + BATCH);
        let texts: Vec<String> = queries[batch.clone()].iter().map(|query| query.question.clone()).collect();
        let vectors = lane.model.embed(ctx, Purpose::Query, &texts).await?;
        let (own, searched, lane) = (ctx.clone(), Arc::clone(state), Arc::clone(lane));
        let (queries, reader) = (Arc::clone(queries), reader.clone());
        let search = move || {
            let recall = |(query, vector): (&Labelled, Vec<f32>)| {
                documents_found(&own, &searched, &lane, &reader, &vector).map(|found| recall_of(query, &found))
            };
            queries[batch].iter().zip(vectors).map(recall).sum::<Result<f32, EngineError>>()
        };
        sum += state.shared.parts.pool.run(ctx, search).await.map_err(EngineError::of_pool)??;
    }
    Ok(if queries.is_empty() { 1.0 } else { sum / queries.len() as f32 })
}

/// The best documents of a lane for a question's vector, each once.
fn documents_found(
    ctx: &Ctx,
    state: &State,
    lane: &Lane,
    reader: &Reader,
    vector: &[f32],
) -> Result<Vec<DocumentId>, EngineError> {
    let scope = Scope::of(&state.documents(), reader, None);
    let chunks = lane.vector.snapshot().search(ctx, vector, CHUNKS, scope.labels()).map_err(EngineError::of_vector)?;
    let documents = state.documents();
    let mut seen = HashSet::new();
    let ids = chunks.into_iter().filter_map(|(label, _)| documents.resolve(label).map(|(labelled, _)| &labelled.id));
    Ok(ids.filter(|id| seen.insert(*id)).take(RANK_MAX).cloned().collect())
}

fn recall_of(query: &Labelled, found: &[DocumentId]) -> f32 {
    let relevant: HashSet<&DocumentId> = query.relevant.iter().collect();
    let hits = found.iter().filter(|id| relevant.contains(id)).count();
    hits as f32 / relevant.len().clamp(1, RANK_MAX) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recall_is_of_what_ten_ranks_can_hold() {
        let ids = |numbers: std::ops::Range<u32>| -> Vec<DocumentId> {
            numbers.map(|n| DocumentId::new(&n.to_string()).unwrap()).collect()
        };
        #[track_caller]
        fn check(relevant: Vec<DocumentId>, found: &[DocumentId], expected: f32) {
            let query = Labelled { question: String::new(), relevant };
            assert_eq!(recall_of(&query, found), expected);
        }
        check(ids(0..1), &ids(0..10), 1.0);
        check(ids(0..4), &ids(2..12), 0.5);
        check(ids(0..20), &ids(0..10), 1.0);
        check([ids(0..1), ids(0..1)].concat(), &ids(0..10), 1.0);
        check(ids(0..1), &[], 0.0);
    }

    #[test]
    fn a_question_drawn_from_a_text_is_its_first_line() {
        assert_eq!(first_line("\n\n---\n## Ärger & Lärm\n\nMehr."), "Ärger & Lärm");
        assert_eq!(first_line("***\n"), "");
        assert_eq!(cut_to("äöü", 3), "ä");
    }
}
